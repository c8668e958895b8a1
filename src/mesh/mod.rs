//! Lock-free rings between shards and their wake-ups. **Nothing here knows of chat or of mio.**
