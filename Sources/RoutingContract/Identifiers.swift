// The ids of the contract: org, request, conversation key. Each is normalised once, on the way in.

/// The id of a Salesforce org, normalised to its 15 case-sensitive characters.
///
/// Source: the `OrgId` header of the Interaction Service API ("the org's 15-character id, `00D…`").
public struct OrgID: Sendable, Hashable, CustomStringConvertible {
    /// The characters, the first in the highest byte, and a zero behind them: orgs are looked up all the time, and two words
    /// are copied, compared and hashed for much less than a text.
    private let words: (UInt64, UInt64)

    /// Takes 15 characters, or 18 whose last three are the case-check suffix (which is dropped, and not verified here:
    /// `strict` validation does that). Returns `nil` for anything else than ASCII letters and digits starting with `00D`.
    public init?(_ text: some StringProtocol) {
        var words: (UInt64, UInt64) = (0, 0)
        var count = 0
        for character in text.utf8 {
            guard character.isASCIIAlphanumeric, count < 18 else { return nil }
            count += 1
            if count <= 8 {
                words.0 = words.0 << 8 | UInt64(character)
            } else if count <= 15 {
                words.1 = words.1 << 8 | UInt64(character)
            }
        }
        guard count == 15 || count == 18, words.0 >> 40 == Self.prefix else { return nil }
        self.words = (words.0, words.1 << 8)
    }

    private static let prefix: UInt64 = 0x303044  // "00D"

    /// 15 ASCII letters and digits.
    public var description: String {
        String(unsafeUninitializedCapacity: 15) { buffer in
            for index in 0..<8 { buffer[index] = UInt8(truncatingIfNeeded: words.0 >> (56 - 8 * index)) }
            for index in 0..<7 { buffer[8 + index] = UInt8(truncatingIfNeeded: words.1 >> (56 - 8 * index)) }
            return 15
        }
    }

    public static func == (left: OrgID, right: OrgID) -> Bool { left.words == right.words }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }
}

/// A RequestId: the idempotency key that the platform chose, a UUID in any letter case.
public struct RequestID: Sendable, Hashable, CustomStringConvertible {
    /// The 16 bytes of the UUID, most significant first (RFC 9562 §4).
    public let bytes: SIMD16<UInt8>

    /// Takes the 36-character form with hyphens (RFC 9562 §4); letter case does not count. `nil` for anything else.
    public init?(_ text: some StringProtocol) {
        guard let bytes = UUIDText.parse(text.utf8) else { return nil }
        self.bytes = bytes
    }

    public init(bytes: SIMD16<UInt8>) {
        self.bytes = bytes
    }

    /// A random one (version 4), from the generator given.
    public static func random(using generator: inout some RandomNumberGenerator) -> RequestID {
        var bytes = SIMD16<UInt8>()
        for index in 0..<16 { bytes[index] = UInt8.random(in: .min ... .max, using: &generator) }
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        return RequestID(bytes: bytes)
    }

    /// The lower-case 36-character form.
    public var description: String { UUIDText.format(bytes) }

    // Two words instead of sixteen bytes one by one: this runs several times for every command.

    private var words: SIMD2<UInt64> { unsafeBitCast(bytes, to: SIMD2<UInt64>.self) }

    public static func == (left: RequestID, right: RequestID) -> Bool {
        left.words.x == right.words.x && left.words.y == right.words.y
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.x)
        hasher.combine(words.y)
    }
}

/// The text form of a UUID, read and written without Foundation: this runs for every command.
enum UUIDText {
    static func parse(_ text: some Collection<UInt8>) -> SIMD16<UInt8>? {
        guard text.count == 36 else { return nil }
        return text.withContiguousStorageIfAvailable(parse) ?? Array(text).withUnsafeBufferPointer(parse)
    }

    private static func parse(_ text: UnsafeBufferPointer<UInt8>) -> SIMD16<UInt8>? {
        // Two machine words take the digits faster than bytes one by one.
        var words: (UInt64, UInt64) = (0, 0)
        for (position, character) in text.enumerated() {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard character == UInt8(ascii: "-") else { return nil }
            } else {
                guard let value = character.hexadecimalValue else { return nil }
                words.0 = words.0 << 4 | words.1 >> 60
                words.1 = words.1 << 4 | UInt64(value)
            }
        }
        return unsafeBitCast(SIMD2(words.0.bigEndian, words.1.bigEndian), to: SIMD16<UInt8>.self)
    }

    static func format(_ bytes: SIMD16<UInt8>) -> String {
        let words = unsafeBitCast(bytes, to: SIMD4<UInt32>.self)
        return String(unsafeUninitializedCapacity: 36) { buffer in
            let text = UnsafeMutableRawBufferPointer(buffer)
            let middle = (digits(words.y), digits(words.z))
            text.storeBytes(of: digits(words.x), toByteOffset: 0, as: UInt64.self)
            text.storeBytes(of: UInt32(truncatingIfNeeded: middle.0), toByteOffset: 9, as: UInt32.self)
            text.storeBytes(of: UInt32(truncatingIfNeeded: middle.0 >> 32), toByteOffset: 14, as: UInt32.self)
            text.storeBytes(of: UInt32(truncatingIfNeeded: middle.1), toByteOffset: 19, as: UInt32.self)
            text.storeBytes(of: UInt32(truncatingIfNeeded: middle.1 >> 32), toByteOffset: 24, as: UInt32.self)
            text.storeBytes(of: digits(words.w), toByteOffset: 28, as: UInt64.self)
            buffer[8] = UInt8(ascii: "-")
            buffer[13] = UInt8(ascii: "-")
            buffer[18] = UInt8(ascii: "-")
            buffer[23] = UInt8(ascii: "-")
            return 36
        }
    }

    /// The lower-case digits of four bytes as they lie in memory, eight at once: this is written several times for every
    /// command.
    ///
    /// - Returns: the digits as they are to lie in memory, on a machine whose words begin with their lowest byte.
    private static func digits(_ bytes: UInt32) -> UInt64 {
        var halves = UInt64(UInt32(bigEndian: bytes))
        halves = (halves | halves << 16) & 0x0000_FFFF_0000_FFFF
        halves = (halves | halves << 8) & 0x00FF_00FF_00FF_00FF
        halves = (halves | halves << 4) & 0x0F0F_0F0F_0F0F_0F0F
        let isLetter = (halves &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        let letterOffset = UInt64(UInt8(ascii: "a") - UInt8(ascii: "0") - 10)
        return (halves &+ 0x3030_3030_3030_3030 &+ isLetter &* letterOffset).bigEndian
    }
}

extension String {
    /// Whether all its bytes are of a kind. In one piece, as nearly all texts are, they are looked at several times
    /// faster than one by one.
    @inlinable
    package func allBytes(_ satisfy: (UInt8) -> Bool) -> Bool {
        utf8.withContiguousStorageIfAvailable { $0.allSatisfy(satisfy) } ?? utf8.allSatisfy(satisfy)
    }
}

extension UInt8 {
    var isASCIIAlphanumeric: Bool {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            true
        default:
            false
        }
    }

    /// The value of an ASCII hexadecimal digit, in either letter case.
    package var hexadecimalValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The lower-case digit of a value below 16.
    var hexadecimalDigit: UInt8 { self < 10 ? UInt8(ascii: "0") + self : UInt8(ascii: "a") + self - 10 }
}

/// What makes two commands the same command.
public struct CommandKey: Sendable, Hashable {
    public let org: OrgID
    public let kind: CommandKind
    public let request: RequestID

    public init(org: OrgID, kind: CommandKind, request: RequestID) {
        self.org = org
        self.kind = kind
        self.request = request
    }
}

/// What must run in order: one conversation of one org.
public struct ConversationKey: Sendable, Hashable {
    public let org: OrgID
    /// `conversationIdentifier` as the payload has it.
    public let conversation: String

    public init(org: OrgID, conversation: String) {
        self.org = org
        self.conversation = conversation
    }
}

/// SHA-256 of a command's meaning: its payload as a JSON value, its AuthorizationContext and the type of that. White
/// space and the order of keys do not count; neither do token, trace, deadline, reply or replay headers.
public struct Fingerprint: Sendable, Hashable {
    /// 32 bytes.
    public let bytes: [UInt8]

    public init(bytes: [UInt8]) {
        precondition(bytes.count == 32, "a SHA-256 has 32 bytes")
        self.bytes = bytes
    }
}
