// What a header table can hold: every field type of AMQP 0-9-1 as RabbitMQ speaks it.

/// One value in an AMQP header table.
///
/// The cases are the field types that RabbitMQ sends and accepts (its errata to AMQP 0-9-1 §4.2.1), each keeping the
/// width it had on the wire, so that a table read and written again is the same table.
public enum FieldValue: Sendable, Hashable {
    /// `V`, no value.
    case void
    /// `t`
    case boolean(Bool)
    /// `b`
    case int8(Int8)
    /// `B`
    case uint8(UInt8)
    /// `s`
    case int16(Int16)
    /// `u`
    case uint16(UInt16)
    /// `I`
    case int32(Int32)
    /// `i`
    case uint32(UInt32)
    /// `l`, what most clients send for any integer.
    case int64(Int64)
    /// `L`
    case uint64(UInt64)
    /// `f`
    case float(Float)
    /// `d`
    case double(Double)
    /// `D`: `value` divided by ten to the power of `scale`.
    case decimal(scale: UInt8, value: UInt32)
    /// `S`, a long string that is valid UTF-8.
    case string(String)
    /// `S`, a long string that is not valid UTF-8: its bytes as they came.
    case malformedString([UInt8])
    /// `x`
    case bytes([UInt8])
    /// `T`, seconds since 1970-01-01 UTC.
    case timestamp(UInt64)
    /// `A`
    case array([FieldValue])
    /// `F`
    case table(FieldTable)
}

/// A header table: fields in the order in which they came.
///
/// Keys may be empty or repeated, since a publisher can send such a table; a reader takes the first.
public struct FieldTable: Sendable, Hashable {
    /// One key and its value. A key is a short string: at most 255 bytes of UTF-8 when written.
    public struct Field: Sendable, Hashable {
        public var key: String
        public var value: FieldValue

        public init(_ key: String, _ value: FieldValue) {
            self.key = key
            self.value = value
        }
    }

    public var fields: [Field]

    public init(_ fields: [Field] = []) {
        self.fields = fields
    }

    public var isEmpty: Bool { fields.isEmpty }

    /// The first field with exactly this key. Setting `nil` removes every field of that key.
    public subscript(key: String) -> FieldValue? {
        get { fields.first { $0.key == key }?.value }
        set {
            guard let newValue else {
                fields.removeAll { $0.key == key }
                return
            }
            if let index = fields.firstIndex(where: { $0.key == key }) {
                fields[index].value = newValue
            } else {
                fields.append(Field(key, newValue))
            }
        }
    }
}

extension FieldTable: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (String, FieldValue)...) {
        self.init(elements.map { Field($0.0, $0.1) })
    }
}
