// Base64, read without Foundation and strictly.

/// The two alphabets of RFC 4648.
package enum Base64 {
    /// Reads base64 (§4), padded or not; `nil` for anything else.
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        decode(text, plus: UInt8(ascii: "+"), slash: UInt8(ascii: "/"))
    }

    /// Reads base64url (§5) without padding, as a JWT has it (RFC 7515 §2); `nil` for anything else.
    package static func decodeURL(_ text: some StringProtocol) -> [UInt8]? {
        text.contains("=") ? nil : decode(text, plus: UInt8(ascii: "-"), slash: UInt8(ascii: "_"))
    }

    private static func decode(_ text: some StringProtocol, plus: UInt8, slash: UInt8) -> [UInt8]? {
        var output: [UInt8] = []
        output.reserveCapacity(text.utf8.count / 4 * 3)
        var bits: UInt32 = 0
        var characters = 0
        var padding = 0
        for character in text.utf8 {
            let value: UInt8
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
            case plus: value = 62
            case slash: value = 63
            case UInt8(ascii: "="):
                padding += 1
                continue
            default: return nil
            }
            guard padding == 0 else { return nil }
            bits = bits << 6 | UInt32(value)
            characters += 1
            if characters % 4 == 0 {
                output.append(UInt8(truncatingIfNeeded: bits >> 16))
                output.append(UInt8(truncatingIfNeeded: bits >> 8))
                output.append(UInt8(truncatingIfNeeded: bits))
            }
        }
        switch characters % 4 {
        case 0: return padding == 0 ? output : nil
        case 2 where padding == 0 || padding == 2: output.append(UInt8(truncatingIfNeeded: bits >> 4))
        case 3 where padding <= 1:
            output.append(UInt8(truncatingIfNeeded: bits >> 10))
            output.append(UInt8(truncatingIfNeeded: bits >> 2))
        default: return nil
        }
        return output
    }
}
