// A chat server on Socket.IO, with its rooms and acknowledgements. The client speaks Socket.IO to it (--dialect socketio).
import { createServer } from "node:http";
import { Server } from "socket.io";

const port = Number(process.argv[2] ?? 4101);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
const ok = { status: "ok", response: {} };

io.on("connection", (socket) => {
  socket.on("join", (room, _payload, answer) => {
    socket.join(room);
    answer(ok);
  });
  socket.on("leave", (room, _payload, answer) => {
    socket.leave(room);
    answer(ok);
  });
  socket.on("new_msg", (room, payload, answer) => {
    io.to(room).emit("new_msg", room, payload);
    answer?.(ok);
  });
});
http.listen({ host: "127.0.0.1", port, backlog: 4096 });
