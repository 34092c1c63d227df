// Log lines: one line each, on standard error, for people or for machines.

import Foundation
public import Logging
import RoutingContract

/// Writes each event as one line: `2026-11-23T08:00:00.000Z info succeeded org=… requestId=…`, or as a JSON object.
public struct LineLogHandler: LogHandler {
    /// For people, or for machines.
    public enum Format: Sendable, Hashable { case human, json }

    public var metadata: Logger.Metadata = [:]
    private let label: String
    private let format: Format
    private let writer: LogWriter
    private let threshold: LogThreshold
    private var ownLevel: Logger.Level?

    /// - Parameters:
    ///   - threshold: the level, as long as the logger has not been given one of its own.
    public init(
        label: String, format: Format, threshold: LogThreshold = .shared, writer: LogWriter = .standardError
    ) {
        self.label = label
        self.format = format
        self.threshold = threshold
        self.writer = writer
    }

    public var logLevel: Logger.Level {
        get { ownLevel ?? threshold.level }
        set { ownLevel = newValue }
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var fields = metadata
        if let own = event.metadata { fields = fields.isEmpty ? own : fields.merging(own) { $1 } }
        // What calls for somebody is not kept waiting for company.
        writer.write(line(event.level, event.message.description, fields), isUrgent: event.level >= .warning)
    }

    /// The line that says how many are missing at its place.
    public func dropped(_ count: Int) -> [UInt8] {
        line(.warning, "log lines dropped: nobody took them in time", [LogKey.count: "\(count)"])
    }

    private func line(_ level: Logger.Level, _ message: String, _ fields: Logger.Metadata) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(512)
        let sorted = fields.sorted { $0.key < $1.key }
        switch format {
        case .human: writeHuman(level, message, sorted, to: &line)
        case .json: writeJSON(level, message, sorted, to: &line)
        }
        line.append(UInt8(ascii: "\n"))
        return line
    }

    private static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    private func writeHuman(
        _ level: Logger.Level, _ message: String, _ fields: [(key: String, value: Logger.MetadataValue)],
        to line: inout [UInt8]
    ) {
        line.append(contentsOf: Self.now.rfc3339.utf8)
        line.append(UInt8(ascii: " "))
        line.append(contentsOf: level.rawValue.utf8)
        line.append(UInt8(ascii: " "))
        line.append(contentsOf: message.oneLine.utf8)
        for (key, value) in fields {
            line.append(UInt8(ascii: " "))
            line.append(contentsOf: key.utf8)
            line.append(UInt8(ascii: "="))
            // Nearly all are texts, of which a description would be another copy.
            var text = if case .string(let text) = value { text } else { value.description }
            // Most stand in a line as they are, which a look at their bytes can tell.
            let isWritten = text.withUTF8 { bytes in
                guard bytes.isPlainWord else { return false }
                line.append(contentsOf: bytes)
                return true
            }
            if !isWritten { line.append(contentsOf: text.quotedIfNeeded.utf8) }
        }
    }

    private func writeJSON(
        _ level: Logger.Level, _ message: String, _ fields: [(key: String, value: Logger.MetadataValue)],
        to line: inout [UInt8]
    ) {
        let time = Self.now.rfc3339
        line.append(
            contentsOf: "{\"time\":\"\(time)\",\"level\":\"\(level)\",\"logger\":\(label.jsonQuoted)".utf8)
        line.append(contentsOf: ",\"message\":".utf8)
        line.append(contentsOf: message.jsonQuoted.utf8)
        for (key, value) in fields {
            line.append(UInt8(ascii: ","))
            line.append(contentsOf: key.jsonQuoted.utf8)
            line.append(UInt8(ascii: ":"))
            line.append(contentsOf: value.description.jsonQuoted.utf8)
        }
        line.append(UInt8(ascii: "}"))
    }
}

extension String {
    /// What others wrote may hold line breaks, which would forge lines, and what commands a terminal.
    public var oneLine: String {
        if utf8.allSatisfy(\.isPlain) { return self }
        guard unicodeScalars.contains(where: \.actsOnTerminals) else { return self }
        return String(UnicodeScalarView(unicodeScalars.map { $0.actsOnTerminals ? " " : $0 }))
    }

    fileprivate var quotedIfNeeded: String {
        let line = oneLine
        return line.isEmpty || line.contains(where: { $0 == " " || $0 == "\"" || $0 == "=" })
            ? "\"" + line.replacingOccurrences(of: "\"", with: "\\\"") + "\"" : line
    }

    var jsonQuoted: String {
        if utf8.allSatisfy({ $0.isPlain && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            return "\"\(self)\""
        }
        var quoted = "\""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case let control where control.actsOnTerminals:
                let digits = String(control.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// Whether these are the bytes of a word that needs no quotes.
    fileprivate var isPlainWord: Bool {
        var isPlain = true
        // To the end, whatever was found: without a way out many bytes are looked at at once.
        for byte in self where !byte.isPlain || byte == 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "=")
        {
            isPlain = false
        }
        return isPlain && !isEmpty
    }
}

extension UInt8 {
    /// Printable ASCII.
    fileprivate var isPlain: Bool { 0x20 <= self && self < 0x7F }
}

extension Unicode.Scalar {
    /// Controls, line and paragraph separators, and what turns the direction of writing. All take four digits.
    fileprivate var actsOnTerminals: Bool {
        switch value {
        case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
