// The keys of log metadata, once each.

/// Metadata keys of every log line of the worker.
public enum LogKey {
    /// Aliases of orgs that a reload brought.
    public static let added = "added"
    public static let address = "address"
    public static let attempts = "attempts"
    /// How long the broker has been out of reach.
    public static let awaySeconds = "awaySeconds"
    /// The operator who said something.
    public static let by = "by"
    /// Aliases of orgs that a reload changed.
    public static let changed = "changed"
    public static let code = "code"
    public static let command = "command"
    public static let concurrency = "concurrency"
    public static let connection = "connection"
    /// What an operator wants of an org: `paused`, `running`, or a mode.
    public static let control = "control"
    public static let conversation = "conversation"
    public static let count = "count"
    public static let duplicate = "duplicate"
    public static let error = "error"
    public static let exchange = "exchange"
    public static let file = "file"
    public static let level = "level"
    public static let milliseconds = "ms"
    /// Why a message could not be published.
    public static let obstacle = "obstacle"
    public static let org = "org"
    public static let orgs = "orgs"
    public static let paused = "paused"
    public static let queue = "queue"
    public static let reason = "reason"
    /// Aliases of orgs that a reload took away.
    public static let removed = "removed"
    public static let requestID = "requestId"
    /// How long it is until the next attempt.
    public static let retryMilliseconds = "retryInMs"
    public static let routingKey = "routingKey"
    public static let running = "running"
    /// Keys of the configuration.
    public static let settings = "settings"
    public static let since = "since"
    public static let status = "status"
    /// The trace id of W3C's `traceparent`: 32 hexadecimal digits.
    public static let trace = "traceId"
    public static let version = "version"
    public static let waiting = "waiting"
    public static let worker = "worker"
    /// How many of them consume the commands queue.
    public static let workers = "workers"
}
