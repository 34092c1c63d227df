// Reads message properties and header tables from their bytes on the wire. Pure; nothing that a publisher sends traps.
import AMQPMessage

/// Limits of this client's own for header tables, in both directions.
enum TableLimits {
    /// Levels of nested tables and arrays that are converted, the header table itself being the first. The protocol sets
    /// no limit; values this deep have no use in practice, and releasing a nested Swift value recurses.
    static let depth = MessageProperties.maximumNesting
}

/// Message properties as far as they could be read.
struct DecodedProperties: Equatable {
    var properties = MessageProperties()
    /// Nothing was left out: no value nested too deep, no malformed bytes.
    var isComplete = true

    /// Reads the property flags and list of a content header frame (AMQP 0-9-1 §4.2.6.1).
    ///
    /// Values nested deeper than ``TableLimits/depth`` become ``FieldValue/void``, and reading stops at malformed bytes;
    /// both clear ``isComplete``.
    init(_ bytes: UnsafeRawBufferPointer) {
        var reader = WireReader(bytes)
        guard let flags = reader.uint16(), flags & 1 == 0 else {
            isComplete = false
            return
        }
        do {
            if flags & 1 << 15 != 0 { properties.contentType = try reader.requiredShortString() }
            if flags & 1 << 14 != 0 { properties.contentEncoding = try reader.requiredShortString() }
            if flags & 1 << 13 != 0 { properties.headers = try reader.requiredTable(depth: 1) }
            if flags & 1 << 12 != 0 { properties.deliveryMode = try reader.required(reader.uint8()) }
            if flags & 1 << 11 != 0 { properties.priority = try reader.required(reader.uint8()) }
            if flags & 1 << 10 != 0 { properties.correlationID = try reader.requiredShortString() }
            if flags & 1 << 9 != 0 { properties.replyTo = try reader.requiredShortString() }
            if flags & 1 << 8 != 0 { properties.expiration = try reader.requiredShortString() }
            if flags & 1 << 7 != 0 { properties.messageID = try reader.requiredShortString() }
            if flags & 1 << 6 != 0 { properties.timestamp = try reader.required(reader.uint64()) }
            if flags & 1 << 5 != 0 { properties.type = try reader.requiredShortString() }
            if flags & 1 << 4 != 0 { properties.userID = try reader.requiredShortString() }
            if flags & 1 << 3 != 0 { properties.appID = try reader.requiredShortString() }
            if flags & 1 << 2 != 0 { properties.clusterID = try reader.requiredShortString() }
        } catch {
            isComplete = false
        }
        if reader.leftOut { isComplete = false }
    }
}

/// Takes values off the front of borrowed bytes; never reads past their end.
struct WireReader {
    struct Malformed: Error {}

    private let bytes: UnsafeRawBufferPointer
    private var offset = 0
    /// Whether a value was nested too deep, or a short string was not valid UTF-8, and something else stands for it.
    private(set) var leftOut = false

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    var remaining: Int { bytes.count - offset }

    func required<T>(_ value: T?) throws(Malformed) -> T {
        guard let value else { throw Malformed() }
        return value
    }

    mutating func uint8() -> UInt8? { integer() }
    mutating func uint16() -> UInt16? { integer() }
    mutating func uint64() -> UInt64? { integer() }

    private mutating func integer<T: FixedWidthInteger>() -> T? {
        guard remaining >= MemoryLayout<T>.size else { return nil }
        defer { offset += MemoryLayout<T>.size }
        return T(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    private mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count <= remaining else { return nil }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }

    mutating func requiredShortString() throws(Malformed) -> String {
        let count = try required(uint8())
        let text = try required(take(Int(count)))
        if let string = String(valid: text) { return string }
        leftOut = true
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func longBytes() throws(Malformed) -> UnsafeRawBufferPointer {
        let count: UInt32 = try required(integer())
        return try required(take(Int(count)))
    }

    mutating func requiredTable(depth: Int) throws(Malformed) -> FieldTable {
        var inner = WireReader(try longBytes())
        var fields: [FieldTable.Field] = []
        // A field takes 24 bytes or so; what is malformed must not reserve more than it holds.
        fields.reserveCapacity(min((inner.remaining + 23) / 24, 16))
        while inner.remaining > 0 {
            let key = try inner.requiredShortString()
            fields.append(FieldTable.Field(key, try inner.value(depth: depth)))
        }
        if inner.leftOut { leftOut = true }
        return FieldTable(fields)
    }

    private mutating func array(depth: Int) throws(Malformed) -> [FieldValue] {
        var inner = WireReader(try longBytes())
        var values: [FieldValue] = []
        while inner.remaining > 0 { values.append(try inner.value(depth: depth)) }
        if inner.leftOut { leftOut = true }
        return values
    }

    /// `depth` is that of the table or array that holds the value.
    private mutating func value(depth: Int) throws(Malformed) -> FieldValue {
        switch try required(uint8()) {
        case UInt8(ascii: "V"): return .void
        case UInt8(ascii: "t"): return .boolean(try required(uint8()) != 0)
        case UInt8(ascii: "b"): return .int8(try required(integer()))
        case UInt8(ascii: "B"): return .uint8(try required(integer()))
        case UInt8(ascii: "s"): return .int16(try required(integer()))
        case UInt8(ascii: "u"): return .uint16(try required(integer()))
        case UInt8(ascii: "I"): return .int32(try required(integer()))
        case UInt8(ascii: "i"): return .uint32(try required(integer()))
        case UInt8(ascii: "l"): return .int64(try required(integer()))
        case UInt8(ascii: "L"): return .uint64(try required(integer()))
        case UInt8(ascii: "f"): return .float(Float(bitPattern: try required(integer())))
        case UInt8(ascii: "d"): return .double(Double(bitPattern: try required(integer())))
        case UInt8(ascii: "D"):
            let scale = try required(uint8())
            return .decimal(scale: scale, value: try required(integer()))
        case UInt8(ascii: "S"):
            let text = try longBytes()
            if let string = String(valid: text) { return .string(string) }
            return .malformedString(Array(text))
        case UInt8(ascii: "x"): return .bytes(Array(try longBytes()))
        case UInt8(ascii: "T"): return .timestamp(try required(integer()))
        case UInt8(ascii: "A"):
            if depth >= TableLimits.depth { return try skipped() }
            return .array(try array(depth: depth + 1))
        case UInt8(ascii: "F"):
            if depth >= TableLimits.depth { return try skipped() }
            return .table(try requiredTable(depth: depth + 1))
        default: throw Malformed()
        }
    }

    private mutating func skipped() throws(Malformed) -> FieldValue {
        _ = try longBytes()
        leftOut = true
        return .void
    }
}

extension String {
    /// Text in UTF-8; `nil` for anything else. Nearly all of it is ASCII, which `String(validating:as:)` takes ten times as long
    /// for.
    fileprivate init?(valid bytes: UnsafeRawBufferPointer) {
        if bytes.allSatisfy({ $0 < 0x80 }) {
            self.init(decoding: bytes, as: UTF8.self)
        } else {
            self.init(validating: bytes, as: UTF8.self)
        }
    }
}
