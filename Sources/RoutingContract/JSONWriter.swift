// Writes JSON, byte by byte, in the order it is told.

/// A small JSON writer: fields come in the order in which they are written, without white space.
///
/// Nothing stops a key from being written twice; that is up to the caller.
public struct JSONWriter: Sendable {
    /// What has been written so far, as UTF-8.
    public private(set) var bytes: [UInt8] = []
    private var needsComma = false

    /// - Parameter capacity: bytes to make room for at the start.
    public init(capacity: Int) {
        bytes.reserveCapacity(capacity)
    }

    /// An object as the document, or as the value of a key.
    public mutating func object(_ key: StaticString? = nil, _ members: (inout JSONWriter) -> Void) {
        if let key { self.key(key) }
        bytes.append(UInt8(ascii: "{"))
        needsComma = false
        members(&self)
        bytes.append(UInt8(ascii: "}"))
        needsComma = true
    }

    /// A text, escaped as need be; `null` for `nil`.
    public mutating func field(_ key: StaticString, _ text: String?) {
        guard let text else { return null(key) }
        self.key(key)
        string(text)
    }

    /// A whole number; `null` for `nil`.
    public mutating func field(_ key: StaticString, _ number: Int?) {
        guard let number else { return null(key) }
        self.key(key)
        bytes.append(contentsOf: String(number).utf8)
    }

    public mutating func field(_ key: StaticString, _ flag: Bool) {
        self.key(key)
        bytes.append(contentsOf: (flag ? "true" : "false").utf8)
    }

    /// A value that is JSON already.
    public mutating func field(_ key: StaticString, json: [UInt8]) {
        self.key(key)
        bytes.append(contentsOf: json)
    }

    public mutating func null(_ key: StaticString) {
        self.key(key)
        bytes.append(contentsOf: "null".utf8)
    }

    /// Keys are our own and need no escapes.
    private mutating func key(_ key: StaticString) {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
        bytes.append(UInt8(ascii: "\""))
        key.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { text in
            if JSONString.plainBytes(in: text, from: 0) == text.count {
                bytes.append(contentsOf: text)
            } else {
                for byte in text { JSONString.appendCanonicalASCII(byte, to: &bytes) }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
