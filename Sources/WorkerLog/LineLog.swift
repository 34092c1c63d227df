// Log lines: one line each, on standard error, for people or for machines.

public import Logging

/// Writes lines: `2026-11-23T08:00:00.000Z info succeeded org=… requestId=…`, or JSON objects.
public struct LineLog: Sendable {
    public let label: String
    private let format: LogLine.Format
    private let writer: LogWriter
    fileprivate let threshold: LogThreshold

    /// - Parameter threshold: the level below which nothing is written.
    public init(
        label: String, format: LogLine.Format, threshold: LogThreshold = .shared, writer: LogWriter = .standardError
    ) {
        self.label = label
        self.format = format
        self.threshold = threshold
        self.writer = writer
    }

    /// Writes one line without a collection of its fields, which would cost more than the line: there is one for every
    /// command. For all else there is a `Logger`.
    ///
    /// - Parameter fields: in the order of their keys, as a logger's come.
    public func write(_ level: Logger.Level, _ message: String, _ fields: (inout LogLine) -> Void) {
        if level >= threshold.level { writeAnyway(level, message, fields) }
    }

    fileprivate func writeAnyway(_ level: Logger.Level, _ message: String, _ fields: (inout LogLine) -> Void) {
        // What calls for somebody is not kept waiting for company.
        writer.write(line(level, message, fields), isUrgent: level >= .warning)
    }

    /// The line that says how many are missing at its place.
    public func dropped(_ count: Int) -> [UInt8] {
        line(.warning, "log lines dropped: nobody took them in time") { $0.field(LogKey.count, count) }
    }

    private func line(_ level: Logger.Level, _ message: String, _ fields: (inout LogLine) -> Void) -> [UInt8] {
        var line = LogLine(format, label, level, message)
        fields(&line)
        return line.end()
    }
}

/// What loggers write, as lines.
public struct LineLogHandler: LogHandler {
    public var metadata: Logger.Metadata = [:]
    private let log: LineLog
    private var ownLevel: Logger.Level?

    /// - Parameter log: its level counts as long as the logger has not been given one of its own.
    public init(_ log: LineLog) { self.log = log }

    public var logLevel: Logger.Level {
        get { ownLevel ?? log.threshold.level }
        set { ownLevel = newValue }
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var fields = metadata
        if let own = event.metadata { fields = fields.isEmpty ? own : fields.merging(own) { $1 } }
        log.writeAnyway(event.level, event.message.description) { line in
            for (key, value) in fields.sorted(by: { $0.key < $1.key }) { line.field(key, value.description) }
        }
    }
}
