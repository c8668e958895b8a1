//! The script and its shell against real servers, Redis and Valkey, and against a model of them.

mod connection;
mod node;
mod servers;
