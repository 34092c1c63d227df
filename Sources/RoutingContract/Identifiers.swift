// The ids of the contract: org, request, conversation key. Each is normalised once, on the way in.

/// The id of a Salesforce org, normalised to its 15 case-sensitive characters.
///
/// Source: the `OrgId` header of the Interaction Service API ("the org's 15-character id, `00D…`").
public struct OrgID: Sendable, Hashable, CustomStringConvertible {
    /// 15 ASCII letters and digits.
    public let description: String

    /// Takes 15 characters, or 18 whose last three are the case-check suffix (which is dropped, and not verified here:
    /// `strict` validation does that). Returns `nil` for anything else than ASCII letters and digits starting with `00D`.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count == 15 || text.utf8.count == 18 else { return nil }
        guard text.utf8.allSatisfy(\.isASCIIAlphanumeric), text.utf8.starts(with: "00D".utf8) else { return nil }
        description = String(text.prefix(15))
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
    static func parse(_ text: some Sequence<UInt8>) -> SIMD16<UInt8>? {
        // Two machine words take the digits faster than bytes one by one.
        var words: (UInt64, UInt64) = (0, 0)
        var position = 0
        for character in text {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard character == UInt8(ascii: "-") else { return nil }
            } else {
                guard position < 36, let value = character.hexadecimalValue else { return nil }
                words.0 = words.0 << 4 | words.1 >> 60
                words.1 = words.1 << 4 | UInt64(value)
            }
            position += 1
        }
        guard position == 36 else { return nil }
        return unsafeBitCast(SIMD2(words.0.bigEndian, words.1.bigEndian), to: SIMD16<UInt8>.self)
    }

    static func format(_ bytes: SIMD16<UInt8>) -> String {
        String(unsafeUninitializedCapacity: 36) { buffer in
            var position = 0
            for index in 0..<16 {
                if index == 4 || index == 6 || index == 8 || index == 10 {
                    buffer[position] = UInt8(ascii: "-")
                    position += 1
                }
                buffer[position] = (bytes[index] >> 4).hexadecimalDigit
                buffer[position + 1] = (bytes[index] & 0x0F).hexadecimalDigit
                position += 2
            }
            return position
        }
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
    var hexadecimalValue: UInt8? {
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
