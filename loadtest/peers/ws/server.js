// A chat server on `ws`: a set of sockets per room; a message is made once and its buffer is shared by all members.
import { WebSocketServer, WebSocket } from "ws";

const port = Number(process.argv[2] ?? 4101);
const rooms = new Map();

function leave(socket, topic) {
  const members = rooms.get(topic);
  members?.delete(socket);
  if (members?.size === 0) rooms.delete(topic);
}

const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false, backlog: 4096 });
server.on("connection", (socket) => {
  const joined = new Set();
  socket.on("message", (data) => {
    const [joinRef, ref, topic, event, payload] = JSON.parse(data);
    switch (event) {
      case "heartbeat":
      case "typing":
        break;
      case "phx_join":
        if (!rooms.has(topic)) rooms.set(topic, new Set());
        rooms.get(topic).add(socket);
        joined.add(topic);
        break;
      case "phx_leave":
        leave(socket, topic);
        joined.delete(topic);
        break;
      default: {
        const message = Buffer.from(JSON.stringify([null, null, topic, event, payload]));
        for (const member of rooms.get(topic) ?? []) {
          if (member.readyState === WebSocket.OPEN) member.send(message, { binary: false });
        }
      }
    }
    socket.send(JSON.stringify([joinRef, ref, topic, "phx_reply", { response: {}, status: "ok" }]));
  });
  socket.on("close", () => joined.forEach((topic) => leave(socket, topic)));
  socket.on("error", () => {});
});
