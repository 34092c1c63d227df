// The keys of log metadata, once each.

/// Metadata keys of every log line of the worker.
public enum LogKey {
    public static let attempts = "attempts"
    public static let code = "code"
    public static let command = "command"
    public static let conversation = "conversation"
    public static let duplicate = "duplicate"
    public static let error = "error"
    public static let milliseconds = "ms"
    public static let org = "org"
    public static let outcome = "outcome"
    public static let queue = "queue"
    public static let reason = "reason"
    public static let requestID = "requestId"
    public static let status = "status"
    public static let trace = "traceparent"
    public static let worker = "worker"
}
