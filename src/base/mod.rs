//! Small structures without a subject of their own: what an arena, a bitset or a token bucket does is the same in any server.
