//! The script and its shell against real servers, Redis and Valkey, and against a model of them.

mod connection;
mod expiry;
mod failover;
mod model;
mod node;
mod proxy;
mod random;
mod refusals;
mod servers;
mod world;
