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
        let short: [(String, String?)] = [
            ("content_type", contentType), ("content_encoding", contentEncoding), ("correlation_id", correlationID),
            ("reply_to", replyTo), ("expiration", expiration), ("message_id", messageID), ("type", type),
            ("user_id", userID), ("app_id", appID), ("cluster_id", clusterID),
        ]
        // Class, weight, body size and flags; then delivery mode, priority and timestamp.
        var size = 14 + 10
        for (name, value) in short {
            guard let value else { continue }
            let bytes = value.utf8.count
            guard bytes <= 255 else { throw .shortStringTooLong(name: name, bytes: bytes) }
            size += 1 + bytes
        }
        size += try headers.encodedSize(nesting: 1)
        guard size <= maximumBytes else { throw .tooLarge(limit: maximumBytes) }
    }
}

extension FieldTable {
    /// Bytes on the wire, its length field included.
    fileprivate func encodedSize(nesting: Int) throws(UnencodableProperties) -> Int {
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
