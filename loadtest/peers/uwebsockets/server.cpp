// A chat server on uWebSockets (C++), with its own pub/sub: one thread, no compression, no TLS.
//
//     server PORT          a push is answered behind its message, as Phoenix does
//     server PORT tuned    it is answered before: to answer first sends that client what it has not had, and so a burst is sent in pieces;
//                          the other way round all that is published in one iteration of the loop shares its writes
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "App.h"

struct User {};

// One of the first four elements of [join_ref, ref, topic, event, payload], with its quotes; `rest` moves behind its comma.
static std::optional<std::string_view> element(std::string_view &rest) {
    size_t end = rest.empty() || rest[0] != '"' ? rest.find(',') : rest.find("\",", 1) + 1;
    if (end == 0 || end >= rest.size()) return std::nullopt;
    std::string_view found = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return found;
}

static std::string_view unquoted(std::string_view text) {
    return text.size() >= 2 && text[0] == '"' ? text.substr(1, text.size() - 2) : text;
}

int main(int argc, char **argv) {
    int port = argc > 1 ? std::atoi(argv[1]) : 4101;
    bool tuned = argc > 2 && std::string_view(argv[2]) == "tuned";
    uWS::App app;
    app.ws<User>("/socket/websocket", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 64 * 1024,
        .idleTimeout = 120,
        .maxBackpressure = 64 * 1024 * 1024,
        .sendPingsAutomatically = false,
        .message = [&app, tuned](auto *socket, std::string_view text, uWS::OpCode) {
            if (text.size() < 2 || text.front() != '[' || text.back() != ']') return (void)socket->close();
            text.remove_prefix(1);
            text.remove_suffix(1);
            auto joinRef = element(text), ref = element(text), topic = element(text), event = element(text);
            if (!event) return (void)socket->close();
            std::string_view name = unquoted(*event);
            std::string out, answer;
            answer.append("[").append(*joinRef).append(",").append(*ref).append(",").append(*topic);
            answer.append(",\"phx_reply\",{\"response\":{},\"status\":\"ok\"}]");
            if (tuned) socket->send(answer, uWS::OpCode::TEXT);
            if (name == "phx_join") {
                socket->subscribe(unquoted(*topic));
            } else if (name == "phx_leave") {
                socket->unsubscribe(unquoted(*topic));
            } else if (name != "heartbeat" && name != "typing") {
                out.append("[null,null,").append(*topic).append(",").append(*event).append(",").append(text).append("]");
                app.publish(unquoted(*topic), out, uWS::OpCode::TEXT);
            }
            if (!tuned) socket->send(answer, uWS::OpCode::TEXT);
        },
    });
    app.listen("127.0.0.1", port, [](auto *) {}).run();
}
