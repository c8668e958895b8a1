//! The rules of chat as values: **nothing here knows of bytes on a wire, sockets or clocks.**
