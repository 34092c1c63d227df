// One line being written, field by field: for people or for machines.

import Foundation
import Logging
import RoutingContract

/// A line of the log, which takes its fields in the order in which they shall stand: that of their keys.
public struct LogLine {
    /// For people, or for machines.
    public enum Format: Sendable, Hashable { case human, json }

    private var bytes: [UInt8] = []
    private let format: Format

    init(_ format: Format, _ label: String, _ level: Logger.Level, _ message: String) {
        self.format = format
        bytes.reserveCapacity(512)
        switch format {
        case .human:
            bytes.append(contentsOf: Self.now.rfc3339.utf8)
            bytes.append(UInt8(ascii: " "))
            bytes.append(contentsOf: level.rawValue.utf8)
            bytes.append(UInt8(ascii: " "))
            bytes.append(contentsOf: message.oneLine.utf8)
        case .json:
            let time = Self.now.rfc3339
            bytes.append(
                contentsOf: "{\"time\":\"\(time)\",\"level\":\"\(level)\",\"logger\":\(label.jsonQuoted)".utf8)
            bytes.append(contentsOf: ",\"message\":".utf8)
            bytes.append(contentsOf: message.jsonQuoted.utf8)
        }
    }

    public mutating func field(_ key: String, _ text: String) {
        switch format {
        case .human:
            bytes.append(UInt8(ascii: " "))
            bytes.append(contentsOf: key.utf8)
            bytes.append(UInt8(ascii: "="))
            // Most stand in a line as they are, which a look at their bytes can tell.
            var text = text
            let isWritten = text.withUTF8 { word in
                guard word.isPlainWord else { return false }
                bytes.append(contentsOf: word)
                return true
            }
            if !isWritten { bytes.append(contentsOf: text.quotedIfNeeded.utf8) }
        case .json:
            bytes.append(UInt8(ascii: ","))
            bytes.append(contentsOf: key.jsonQuoted.utf8)
            bytes.append(UInt8(ascii: ":"))
            bytes.append(contentsOf: text.jsonQuoted.utf8)
        }
    }

    /// Numbers are texts in both forms.
    public mutating func field(_ key: String, _ number: Int) { field(key, String(number)) }

    /// The whole line, its line feed included.
    consuming func end() -> [UInt8] {
        if format == .json { bytes.append(UInt8(ascii: "}")) }
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    private static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
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
        // By scalars: as characters, marks that follow would hide what is looked for.
        guard line.isEmpty || line.unicodeScalars.contains(where: { $0 == " " || $0 == "\"" || $0 == "=" }) else {
            return line
        }
        var quoted = "\"".unicodeScalars
        for scalar in line.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { quoted.append("\\") }
            quoted.append(scalar)
        }
        quoted.append("\"")
        return String(quoted)
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
