// Log lines: one line each, on standard error, for people or for machines.

import Foundation
import IdempotencyStore
import Logging
import RoutingContract

/// Writes each event as one line: `2026-11-23T08:00:00.000Z info succeeded org=… requestId=…`, or as a JSON object.
struct LineLogHandler: LogHandler {
    enum Format { case human, json }

    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    private let label: String
    private let format: Format

    init(label: String, level: Logger.Level, format: Format) {
        self.label = label
        logLevel = level
        self.format = format
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let own = event.metadata { all.merge(own) { $1 } }
        let time = StoreClock.system.now().rfc3339
        let fields = all.sorted { $0.key < $1.key }
        let line: String =
            switch format {
            case .human:
                fields.reduce("\(time) \(event.level) \(event.message.description.oneLine)") {
                    "\($0) \($1.key)=\($1.value.description.quotedIfNeeded)"
                } + "\n"
            case .json:
                fields.reduce(
                    "{\"time\":\"\(time)\",\"level\":\"\(event.level)\",\"logger\":\(label.jsonQuoted),"
                        + "\"message\":\(event.message.description.jsonQuoted)"
                ) { "\($0),\($1.key.jsonQuoted):\($1.value.description.jsonQuoted)" } + "}\n"
            }
        // One write per line, so that lines of several threads never mix.
        FileHandle.standardError.write(Data(line.utf8))
    }
}

extension String {
    /// What others wrote may hold line breaks, which would forge lines, and what commands a terminal.
    var oneLine: String {
        guard unicodeScalars.contains(where: \.actsOnTerminals) else { return self }
        return String(UnicodeScalarView(unicodeScalars.map { $0.actsOnTerminals ? " " : $0 }))
    }

    fileprivate var quotedIfNeeded: String {
        let line = oneLine
        return line.isEmpty || line.contains(where: { $0 == " " || $0 == "\"" || $0 == "=" })
            ? "\"" + line.replacingOccurrences(of: "\"", with: "\\\"") + "\"" : line
    }

    var jsonQuoted: String {
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

extension Unicode.Scalar {
    /// Controls, line and paragraph separators, and what turns the direction of writing. All take four digits.
    fileprivate var actsOnTerminals: Bool {
        switch value {
        case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
