CREATE TABLE tasks (
    tenant           @key    NOT NULL,
    task_id          @key    NOT NULL,
    status           BIGINT  NOT NULL,
    priority         BIGINT  NOT NULL,
    attempt          BIGINT  NOT NULL DEFAULT 0,
    failures         BIGINT  NOT NULL DEFAULT 0,
    steps            BIGINT  NOT NULL DEFAULT 0,
    last_sequence    BIGINT  NOT NULL DEFAULT 0,
    cancel_requested BOOLEAN NOT NULL DEFAULT FALSE,
    create_time      BIGINT  NOT NULL,
    run_after        BIGINT  NOT NULL,
    start_time       BIGINT,
    finish_time      BIGINT,
    lease_until      BIGINT,
    -- When the sweeper looks at the task next; none once it has ended.
    wake_time        BIGINT,
    user_id          @key    NOT NULL,
    session_id       @key    NOT NULL,
    -- The API key that it spends by; empty for none.
    key_name         TEXT    NOT NULL,
    agent            TEXT    NOT NULL,
    worker           TEXT    NOT NULL DEFAULT '',
    idempotency_key  @key    NOT NULL,
    request_hash     @blob,
    labels           TEXT    NOT NULL,
    error            TEXT    NOT NULL DEFAULT '',
    request          @blob   NOT NULL,
    result           @blob,
    -- The tool calls that people must decide about before it goes on, as JSON.
    pending_calls    @blob,
    PRIMARY KEY (tenant, task_id)
);
CREATE UNIQUE INDEX tasks_idempotency_key ON tasks (tenant, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX tasks_newest ON tasks (tenant, create_time, task_id);
CREATE INDEX tasks_of_user ON tasks (tenant, user_id, create_time, task_id);
CREATE INDEX tasks_of_session ON tasks (tenant, session_id, create_time, task_id);
CREATE INDEX tasks_turn_in_session ON tasks (tenant, session_id, create_time, task_id) WHERE finish_time IS NULL;
-- A task is in one of these two at most, and never in either once it is completed.
-- What is open is told by a column that does not change before its end.
CREATE INDEX tasks_open ON tasks (tenant, create_time, task_id, user_id) WHERE finish_time IS NULL;
CREATE INDEX tasks_unsuccessful ON tasks (tenant, create_time, task_id) WHERE status > 4;
CREATE INDEX tasks_wake ON tasks (wake_time) WHERE wake_time IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (finish_time) WHERE finish_time IS NOT NULL;

CREATE TABLE task_labels (
    tenant      @key   NOT NULL,
    label       @key   NOT NULL,
    create_time BIGINT NOT NULL,
    task_id     @key   NOT NULL,
    PRIMARY KEY (tenant, label, create_time, task_id),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, task_id) ON DELETE CASCADE
) @clustered;
CREATE INDEX task_labels_of_task ON task_labels (tenant, task_id);

CREATE TABLE steps (
    tenant   @key   NOT NULL,
    task_id  @key   NOT NULL,
    position BIGINT NOT NULL,
    step     @blob  NOT NULL,
    PRIMARY KEY (tenant, task_id, position),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, task_id) ON DELETE CASCADE
) @clustered;

CREATE TABLE events (
    tenant   @key   NOT NULL,
    task_id  @key   NOT NULL,
    sequence BIGINT NOT NULL,
    payload  @blob  NOT NULL,
    PRIMARY KEY (tenant, task_id, sequence),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, task_id) ON DELETE CASCADE
) @clustered;

CREATE TABLE deliveries (
    tenant      @key   NOT NULL,
    delivery_id @key   NOT NULL,
    task_id     @key   NOT NULL,
    status      BIGINT NOT NULL,
    attempt     BIGINT NOT NULL DEFAULT 0,
    last_code   BIGINT NOT NULL DEFAULT 0,
    create_time BIGINT NOT NULL,
    finish_time BIGINT,
    -- When it is tried next, or when the claim of who is trying runs out.
    wake_time   BIGINT,
    url         TEXT   NOT NULL,
    last_error  TEXT   NOT NULL DEFAULT '',
    payload     @blob  NOT NULL,
    PRIMARY KEY (tenant, delivery_id),
    FOREIGN KEY (tenant, task_id) REFERENCES tasks (tenant, task_id) ON DELETE CASCADE
);
CREATE INDEX deliveries_of_task ON deliveries (tenant, task_id, create_time, delivery_id);
CREATE INDEX deliveries_wake ON deliveries (wake_time) WHERE wake_time IS NOT NULL;

CREATE TABLE sessions (
    tenant      @key   NOT NULL,
    session_id  @key   NOT NULL,
    user_id     @key   NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    -- How many messages there are, and their tokens.
    messages    BIGINT NOT NULL DEFAULT 0,
    tokens      BIGINT NOT NULL DEFAULT 0,
    lock_owner  TEXT   NOT NULL DEFAULT '',
    lock_until  BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, session_id)
);
CREATE INDEX sessions_of_user ON sessions (tenant, user_id, create_time, session_id);

CREATE TABLE messages (
    tenant        @key   NOT NULL,
    session_id    @key   NOT NULL,
    position      BIGINT NOT NULL,
    -- The tokens of all messages before this one's turn, so that a window of
    -- whole turns is a range of the index.
    tokens_before BIGINT NOT NULL,
    tokens        BIGINT NOT NULL,
    create_time   BIGINT NOT NULL,
    run_id        TEXT   NOT NULL,
    payload       @blob  NOT NULL,
    PRIMARY KEY (tenant, session_id, position),
    FOREIGN KEY (tenant, session_id) REFERENCES sessions (tenant, session_id) ON DELETE CASCADE
) @clustered;
CREATE INDEX messages_window ON messages (tenant, session_id, tokens_before, position);

CREATE TABLE summaries (
    tenant      @key   NOT NULL,
    session_id  @key   NOT NULL,
    -- How many of the session's messages it stands for, from the first.
    messages    BIGINT NOT NULL,
    tokens      BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    model       TEXT   NOT NULL,
    payload     @blob  NOT NULL,
    PRIMARY KEY (tenant, session_id),
    FOREIGN KEY (tenant, session_id) REFERENCES sessions (tenant, session_id) ON DELETE CASCADE
) @clustered;

CREATE TABLE memories (
    number       @serial,
    tenant       @key   NOT NULL,
    memory_id    @key   NOT NULL,
    user_id      @key   NOT NULL,
    session_id   @key   NOT NULL,
    create_time  BIGINT NOT NULL,
    content      TEXT   NOT NULL,
    -- The embedding model that its vector is of; empty while it has none.
    vector_model @key   NOT NULL DEFAULT '',
    -- When it may be claimed to be given a vector.
    vector_time  BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX memories_id ON memories (tenant, memory_id);
CREATE INDEX memories_of_user ON memories (tenant, user_id, create_time, memory_id);
CREATE INDEX memories_of_session ON memories (tenant, session_id) WHERE session_id <> '';
CREATE INDEX memories_by_vector ON memories (vector_model, vector_time);
@wordtable;

CREATE TABLE memory_vectors (
    number BIGINT NOT NULL PRIMARY KEY REFERENCES memories (number) ON DELETE CASCADE,
    -- Numbers of 32 bits, little-endian; where there is pgvector, of its type.
    vector @blob  NOT NULL
);

CREATE TABLE usage (
    tenant             @key    NOT NULL,
    usage_id           @key    NOT NULL,
    create_time        BIGINT  NOT NULL,
    user_id            @key    NOT NULL,
    agent              @key    NOT NULL,
    model              @key    NOT NULL,
    run_id             @key    NOT NULL,
    input_tokens       BIGINT  NOT NULL,
    cached_tokens      BIGINT  NOT NULL,
    cache_write_tokens BIGINT  NOT NULL,
    output_tokens      BIGINT  NOT NULL,
    -- Billionths of a US dollar; none when the price is unknown.
    cost_nano          BIGINT,
    estimated          BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, create_time, run_id, usage_id)
) @clustered;

-- What was spent in a day, counted from 1970 in UTC, where that has a limit.
CREATE TABLE spend (
    tenant        @key   NOT NULL,
    -- Whose spending it is: `user` or `key`, and which.
    scope         @key   NOT NULL,
    name          @key   NOT NULL,
    day           BIGINT NOT NULL,
    settled_nano  BIGINT NOT NULL DEFAULT 0,
    reserved_nano BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, scope, name, day)
) @clustered;
CREATE INDEX spend_by_day ON spend (day);

-- What is set aside for model calls whose usage is not written yet.
CREATE TABLE reservations (
    tenant         @key   NOT NULL,
    -- The usage_id of that row.
    reservation_id @key   NOT NULL,
    scope          @key   NOT NULL,
    name           @key   NOT NULL,
    day            BIGINT NOT NULL,
    nano           BIGINT NOT NULL,
    -- When it runs out; none once it has, and holds nothing any more.
    until          BIGINT,
    PRIMARY KEY (tenant, reservation_id, scope)
) @clustered;
CREATE INDEX reservations_until ON reservations (until) WHERE until IS NOT NULL;
CREATE INDEX reservations_run_out ON reservations (day) WHERE until IS NULL;

CREATE TABLE schedules (
    tenant      @key    NOT NULL,
    schedule_id @key    NOT NULL,
    user_id     @key    NOT NULL,
    key_name    TEXT    NOT NULL,
    cron        TEXT    NOT NULL,
    time_zone   TEXT    NOT NULL,
    paused      BOOLEAN NOT NULL DEFAULT FALSE,
    create_time BIGINT  NOT NULL,
    last_time   BIGINT,
    -- None while the schedule is paused, or when it has no further tick.
    next_time   BIGINT,
    request     @blob   NOT NULL,
    PRIMARY KEY (tenant, schedule_id)
);
CREATE INDEX schedules_newest ON schedules (tenant, create_time, schedule_id);
CREATE INDEX schedules_next ON schedules (next_time) WHERE next_time IS NOT NULL;

CREATE TABLE leaders (
    name  @key   NOT NULL PRIMARY KEY,
    owner TEXT   NOT NULL,
    until BIGINT NOT NULL
) @clustered;
