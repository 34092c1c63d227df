// Salesforce record ids: 15 case-sensitive characters, or 18 with the case-check suffix.

enum SalesforceID {
    /// Key prefix of a pending service routing.
    static let pendingServiceRouting = "0JR"
    /// Key prefix of a messaging session, the work item of a routed conversation.
    static let messagingSession = "0Mw"
    static let queue = "00G"
    static let flow = "300"
    static let user = "005"

    private static let suffixAlphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345".utf8)
    private static let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

    /// The three characters that follow the first 15: each tells which of five characters are capitals.
    static func caseCheck(_ id: some Collection<UInt8>) -> [UInt8] {
        var suffix: [UInt8] = []
        var bits = 0
        for (index, character) in id.prefix(15).enumerated() {
            if character >= UInt8(ascii: "A") && character <= UInt8(ascii: "Z") { bits |= 1 << (index % 5) }
            if index % 5 == 4 {
                suffix.append(suffixAlphabet[bits])
                bits = 0
            }
        }
        return suffix
    }

    /// Whether `text` is an id of the kind that `prefix` names; a suffix, where there is one, must fit.
    static func isWellFormed(_ text: String, prefix: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 15 || bytes.count == 18, bytes.starts(with: prefix.utf8) else { return false }
        guard text.unicodeScalars.allSatisfy({ $0.isASCII && ("0"..."9" ~= $0 || $0.properties.isAlphabetic) }) else {
            return false
        }
        return bytes.count == 15 || Array(bytes.suffix(3)) == caseCheck(bytes)
    }

    /// The 18-character id of the record with this number.
    static func make(prefix: String, number: UInt64) -> String {
        var id = Array(prefix.utf8) + Array("SB0".utf8)
        var rest = number
        var tail: [UInt8] = []
        for _ in 0..<9 {
            tail.append(digits[Int(rest % 62)])
            rest /= 62
        }
        id += tail.reversed()
        return String(decoding: id + caseCheck(id), as: UTF8.self)
    }

    /// `id` with its case-check suffix, where it has none.
    static func eighteen(_ id: String) -> String {
        id.utf8.count == 15 ? id + String(decoding: caseCheck(Array(id.utf8)), as: UTF8.self) : id
    }
}
