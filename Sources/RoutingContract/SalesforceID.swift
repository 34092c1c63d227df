// Salesforce record ids: their form and their checksum.

/// Record ids: 15 case-sensitive letters and digits, or 18 with a case-check suffix.
public enum SalesforceID {
    /// Whether this is an id of that form whose suffix, if it has one, fits.
    ///
    /// - Parameter prefix: the three characters that tell the kind of record, `00G` for a queue; none fits all.
    public static func isValid(_ text: String, prefix: String = "") -> Bool {
        let characters = Array(text.utf8)
        guard characters.count == 15 || characters.count == 18, characters.allSatisfy(\.isASCIIAlphanumeric),
            characters.starts(with: prefix.utf8)
        else { return false }
        guard characters.count == 18 else { return true }
        // The suffix itself is read in either case: it exists for systems that lose the case.
        return (0..<3).allSatisfy { characters[15 + $0] & 0xDF == suffixCharacter($0, of: characters) & 0xDF }
    }

    /// The 18-character form of an id of 15 characters; any other text comes back as it is.
    public static func withSuffix(_ id: String) -> String {
        let characters = Array(id.utf8)
        guard characters.count == 15 else { return id }
        return id + String(decoding: (0..<3).map { suffixCharacter($0, of: characters) }, as: UTF8.self)
    }

    /// Each of the three suffix characters says which of five characters are capitals: bit *n* for the *n*th.
    private static func suffixCharacter(_ chunk: Int, of id: [UInt8]) -> UInt8 {
        var capitals: UInt8 = 0
        for position in 0..<5 where (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(id[chunk * 5 + position]) {
            capitals |= 1 << UInt8(position)
        }
        return capitals < 26 ? UInt8(ascii: "A") + capitals : UInt8(ascii: "0") + capitals - 26
    }
}
