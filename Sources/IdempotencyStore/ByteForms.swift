// Integers and strings as bytes, for the codecs: zigzag LEB128, and a length before UTF-8.

extension [UInt8] {
    mutating func write(_ value: Int64) {
        var rest = UInt64(bitPattern: value << 1 ^ value >> 63)
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }

    mutating func write(_ text: String) {
        write(Int64(text.utf8.count))
        append(contentsOf: text.utf8)
    }

    /// A length, then the bytes.
    mutating func write(counted value: [UInt8]) {
        write(Int64(value.count))
        append(contentsOf: value)
    }
}

/// `nil` where the bytes are cut short or say what cannot be. Never traps.
struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    var isAtEnd: Bool { position == bytes.endIndex }

    mutating func readByte() -> UInt8? {
        guard position < bytes.endIndex else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func readInteger() -> Int64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = readByte() {
            guard shift < 63 || byte <= 1 else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }
            shift += 7
        }
        return nil
    }

    mutating func readInt() -> Int? { readInteger().flatMap(Int.init(exactly:)) }

    /// A length, then the bytes.
    mutating func readBytes() -> ArraySlice<UInt8>? {
        readInt().flatMap { readBytes(count: $0) }
    }

    mutating func readBytes(count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= bytes.endIndex - position else { return nil }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func readString() -> String? {
        readBytes().flatMap { String(validating: $0, as: UTF8.self) }
    }
}
