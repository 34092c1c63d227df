// The bytes under which databases find commands and conversations.

public import RoutingContract

/// A key as one string of bytes, comparable byte by byte.
public struct KeyBytes: Sendable, Hashable, Comparable {
    public let bytes: [UInt8]

    /// The org's 15 characters, `r` or `d`, the RequestId's 16 bytes.
    public init(_ key: CommandKey) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(32)
        bytes.append(contentsOf: key.org.description.utf8)
        switch key.kind {
        case .route: bytes.append(UInt8(ascii: "r"))
        case .delete: bytes.append(UInt8(ascii: "d"))
        }
        withUnsafeBytes(of: key.request.bytes) { bytes.append(contentsOf: $0) }
        self.bytes = bytes
    }

    /// Bytes that were a key before.
    public init(bytes: [UInt8]) { self.bytes = bytes }

    /// The command whose key this is; `nil` for other bytes.
    public var command: CommandKey? {
        guard bytes.count == 32, let org = OrgID(String(decoding: bytes.prefix(15), as: UTF8.self)) else { return nil }
        let kind: CommandKind
        switch bytes[15] {
        case UInt8(ascii: "r"): kind = .route
        case UInt8(ascii: "d"): kind = .delete
        default: return nil
        }
        return CommandKey(org: org, kind: kind, request: RequestID(bytes: SIMD16(bytes[16...])))
    }

    /// The org's 15 characters, then the conversation in UTF-8.
    public init(_ key: ConversationKey) {
        bytes = Array(key.org.description.utf8) + Array(key.conversation.utf8)
    }

    /// The last 16 bytes, as two numbers: of a command they are its RequestId, which tells it from nearly every other.
    public func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { bytes in
            guard bytes.count >= 16 else { return hasher.combine(bytes: bytes) }
            hasher.combine(bytes.loadUnaligned(fromByteOffset: bytes.count - 16, as: UInt64.self))
            hasher.combine(bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self))
        }
    }

    public static func < (left: KeyBytes, right: KeyBytes) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}
