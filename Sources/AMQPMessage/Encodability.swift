// Whether properties can be encoded at all, to be known before anything is sent: some of what AMQP cannot express ends
// the connection when it is noticed later.

/// Why properties cannot be encoded.
public enum UnencodableProperties: Error, Sendable, Hashable, CustomStringConvertible {
    /// A property or a header key holds more than 255 bytes.
    case shortStringTooLong(name: String, bytes: Int)
    /// All properties together take more bytes than allowed (they travel in one frame).
    case tooLarge(limit: Int)
    /// Tables and arrays are nested deeper than ``MessageProperties/maximumNesting``.
    case nestedTooDeep

    public var description: String {
        switch self {
        case .shortStringTooLong(let name, let bytes): "\(name) holds \(bytes) bytes, 255 are possible"
        case .tooLarge(let limit): "properties and headers take more than \(limit) bytes"
        case .nestedTooDeep: "header tables are nested more than \(MessageProperties.maximumNesting) deep"
        }
    }
}

extension MessageProperties {
    /// Tables and arrays inside each other that are encoded; encoders recurse.
    public static let maximumNesting = 64

    /// Checks that these properties can be encoded as a content header of at most `maximumBytes` payload.
    public func checkEncodable(maximumBytes: Int) throws(UnencodableProperties) {
        guard try encodedSize() <= maximumBytes else { throw .tooLarge(limit: maximumBytes) }
    }

    /// Bytes of the content header's payload (AMQP 0-9-1 §4.2.6.1): class, weight, body size, flags, and what is set.
    public func encodedSize() throws(UnencodableProperties) -> Int {
        var size = 14
        size += try Self.encodedSize(contentType, "content_type")
        size += try Self.encodedSize(contentEncoding, "content_encoding")
        size += headers.isEmpty ? 0 : try headers.encodedSize()
        size += deliveryMode == nil ? 0 : 1
        size += priority == nil ? 0 : 1
        size += try Self.encodedSize(correlationID, "correlation_id")
        size += try Self.encodedSize(replyTo, "reply_to")
        size += try Self.encodedSize(expiration, "expiration")
        size += try Self.encodedSize(messageID, "message_id")
        size += timestamp == nil ? 0 : 8
        size += try Self.encodedSize(type, "type")
        size += try Self.encodedSize(userID, "user_id")
        size += try Self.encodedSize(appID, "app_id")
        size += try Self.encodedSize(clusterID, "cluster_id")
        return size
    }

    private static func encodedSize(_ text: String?, _ name: String) throws(UnencodableProperties) -> Int {
        guard let bytes = text?.utf8.count else { return 0 }
        guard bytes <= 255 else { throw .shortStringTooLong(name: name, bytes: bytes) }
        return 1 + bytes
    }
}

extension FieldTable {
    /// Bytes on the wire, its length field included.
    ///
    /// - Parameter nesting: tables and arrays around its values, itself included.
    public func encodedSize(nesting: Int = 1) throws(UnencodableProperties) -> Int {
        guard nesting <= MessageProperties.maximumNesting else { throw .nestedTooDeep }
        var size = 4
        for field in fields {
            let bytes = field.key.utf8.count
            guard bytes <= 255 else {
                throw .shortStringTooLong(name: "a header key", bytes: bytes)
            }
            size += try 1 + bytes + field.value.encodedSize(nesting: nesting)
        }
        return size
    }
}

extension FieldValue {
    /// Bytes on the wire, its type octet included.
    fileprivate func encodedSize(nesting: Int) throws(UnencodableProperties) -> Int {
        switch self {
        case .void: return 1
        case .boolean, .int8, .uint8: return 2
        case .int16, .uint16: return 3
        case .int32, .uint32, .float: return 5
        case .decimal: return 6
        case .int64, .uint64, .double, .timestamp: return 9
        case .string(let text): return 5 + text.utf8.count
        case .malformedString(let bytes), .bytes(let bytes): return 5 + bytes.count
        case .table(let table): return try 1 + table.encodedSize(nesting: nesting + 1)
        case .array(let values):
            guard nesting < MessageProperties.maximumNesting else { throw .nestedTooDeep }
            var size = 5
            for value in values { size += try value.encodedSize(nesting: nesting + 1) }
            return size
        }
    }
}
