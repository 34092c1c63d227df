// The digests that name things: a command's fingerprint, and ids that follow from what they name.

import Crypto

/// Fields put one behind the other so that no two lists of fields give the same bytes: each with its length before it,
/// an absent one with a length that none has.
struct FramedFields {
    private(set) var bytes: [UInt8] = []

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    mutating func append(_ field: (some Collection<UInt8>)?) {
        guard let field else {
            bytes.append(contentsOf: repeatElement(0xFF, count: 8))
            return
        }
        withUnsafeBytes(of: UInt64(field.count).bigEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: field)
    }

    mutating func append(_ field: String?) { append(field?.utf8) }

    /// The first bytes of the fields' SHA-256, of which there are 32.
    func sha256(prefix count: Int = 32) -> [UInt8] {
        var hash = SHA256()
        bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
        // As it lies in memory: as a sequence it would be copied byte by byte.
        return hash.finalize().withUnsafeBytes { Array(UnsafeRawBufferPointer(rebasing: $0.prefix(count))) }
    }
}

extension Fingerprint {
    /// The fingerprint of a command.
    ///
    /// - Parameters:
    ///   - payload: its JSON, in the canonical form of ``JSONDocument/canonical``.
    ///   - context: the AuthorizationContext.
    ///   - contextType: its type, if it names one.
    init(payload: [UInt8], context: String, contextType: String?) {
        var fields = FramedFields()
        fields.reserve(payload.count + context.utf8.count + 64)
        fields.append(payload)
        fields.append(context)
        fields.append(contextType)
        self.init(bytes: fields.sha256())
    }
}

/// What stands for a conversation where its id itself is not to be kept: enough of a SHA-256 to find its commands again,
/// and nothing to read it from.
public struct ConversationTag: Sendable, Hashable {
    /// Bytes of a tag.
    public static let size = 16

    public let bytes: [UInt8]

    public init(_ key: ConversationKey) {
        var fields = FramedFields()
        fields.reserve(key.conversation.utf8.count + 48)
        fields.append("conversation")
        fields.append(key.org.description)
        fields.append(key.conversation)
        bytes = fields.sha256(prefix: Self.size)
    }

    public init(bytes: [UInt8]) {
        precondition(bytes.count == Self.size, "a tag has 16 bytes")
        self.bytes = bytes
    }
}

/// UUIDs that follow from a name (RFC 9562 §5.5): whoever computes one again gets the same.
public enum UUIDv5 {
    /// The namespace of this project's ids, drawn once at random.
    public static let namespace = SIMD16<UInt8>(
        0x5E, 0x0F, 0x7B, 0x4D, 0x9A, 0x52, 0x4C, 0x61, 0x8E, 0x33, 0x1D, 0xC4, 0x6B, 0x90, 0xA7, 0x2F)

    /// The 16 bytes of the UUID, most significant first.
    public static func bytes(
        namespace: SIMD16<UInt8> = UUIDv5.namespace, name: some Sequence<UInt8>
    ) -> SIMD16<UInt8> {
        var input: [UInt8] = []
        input.reserveCapacity(16 + name.underestimatedCount)
        withUnsafeBytes(of: namespace) { input.append(contentsOf: $0) }
        input.append(contentsOf: name)
        // SHA-1 is what RFC 9562 asks for; nothing here rests on its being hard to collide on purpose.
        var hash = Insecure.SHA1()
        input.withUnsafeBytes { hash.update(bufferPointer: $0) }
        var bytes = hash.finalize().withUnsafeBytes { $0.loadUnaligned(as: SIMD16<UInt8>.self) }
        bytes[6] = bytes[6] & 0x0F | 0x50
        bytes[8] = bytes[8] & 0x3F | 0x80
        return bytes
    }

    /// The same in its lower-case 36-character form.
    public static func text(namespace: SIMD16<UInt8> = UUIDv5.namespace, name: some Sequence<UInt8>) -> String {
        UUIDText.format(bytes(namespace: namespace, name: name))
    }
}
