// The keys of log metadata, once each.

/// Metadata keys of every log line of the worker.
public enum LogKey {
    public static let attempts = "attempts"
    public static let code = "code"
    public static let command = "command"
    public static let concurrency = "concurrency"
    public static let connection = "connection"
    public static let conversation = "conversation"
    public static let count = "count"
    public static let duplicate = "duplicate"
    public static let error = "error"
    public static let exchange = "exchange"
    public static let milliseconds = "ms"
    /// Why a message could not be published.
    public static let obstacle = "obstacle"
    public static let org = "org"
    public static let orgs = "orgs"
    public static let paused = "paused"
    public static let queue = "queue"
    public static let reason = "reason"
    public static let requestID = "requestId"
    public static let routingKey = "routingKey"
    public static let running = "running"
    public static let status = "status"
    public static let trace = "traceparent"
    public static let version = "version"
    public static let waiting = "waiting"
    public static let worker = "worker"
}
