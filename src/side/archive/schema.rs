//! What is in the database. A schema that was released never changes: another one is a migration
//! behind it.
//!
//! Numbers of messages, changes and epochs are `bigint`: epochs use all 64 bits, so some are
//! negative there.

/// By which number each migration is known, in order: the version is how many were done.
pub(super) const MIGRATIONS: [&str; 1] = [FIRST];

/// The lock under which tables are made: any number that nobody else has.
pub(super) const LOCK: i64 = 0x4368_696E_7761_6741;

/// What says which version the tables have, and whose they are.
pub(super) const ABOUT: &str =
    "CREATE TABLE IF NOT EXISTS chinwag_archive(version int NOT NULL, prefix text NOT NULL)";

const FIRST: &str = r#"
    -- last, last_change: all up to there is here, but for what lies before floor, floor_change.
    -- is_present: of several of one name the one that is read. Others were before: the engine has
    -- lost them, or has forgotten them, and their numbers begin anew.
    CREATE TABLE chinwag_room(
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        topic text NOT NULL,
        is_present boolean NOT NULL DEFAULT true,
        epoch bigint NOT NULL,
        last bigint NOT NULL,
        last_change bigint NOT NULL,
        floor bigint NOT NULL,
        floor_change bigint NOT NULL
    );
    CREATE UNIQUE INDEX chinwag_room_present ON chinwag_room(topic) WHERE is_present;
    -- From which message and which change on a room was in an epoch.
    CREATE TABLE chinwag_era(
        room bigint NOT NULL REFERENCES chinwag_room ON DELETE CASCADE,
        epoch bigint NOT NULL,
        first bigint NOT NULL,
        first_change bigint NOT NULL,
        PRIMARY KEY (room, epoch)
    );
    -- record: as nodes write it for each other. NULL: what the engine had could not be read, and
    -- is in unread. words: each with the id of its room before it.
    CREATE TABLE chinwag_message(
        room bigint NOT NULL REFERENCES chinwag_room ON DELETE CASCADE,
        "offset" bigint NOT NULL,
        change bigint NOT NULL,
        is_deleted boolean NOT NULL,
        is_pinned boolean NOT NULL,
        thread bigint,
        author text,
        record bytea,
        unread bytea,
        words tsvector,
        PRIMARY KEY (room, "offset")
    );
    CREATE INDEX chinwag_message_changed ON chinwag_message(room, change) WHERE change > 0;
    CREATE INDEX chinwag_message_thread ON chinwag_message(room, thread, "offset")
        WHERE thread IS NOT NULL;
    CREATE INDEX chinwag_message_pinned ON chinwag_message(room, "offset") WHERE is_pinned;
    CREATE INDEX chinwag_message_words ON chinwag_message USING gin(words);
    -- What messages were before their last changes, for a while: a turn may take these back.
    CREATE TABLE chinwag_before(
        room bigint NOT NULL REFERENCES chinwag_room ON DELETE CASCADE,
        "offset" bigint NOT NULL,
        change bigint NOT NULL,
        is_pinned boolean NOT NULL,
        thread bigint,
        author text,
        record bytea NOT NULL,
        words tsvector,
        saved_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (room, "offset", change)
    );
    CREATE INDEX chinwag_before_saved ON chinwag_before(saved_at);
"#;
