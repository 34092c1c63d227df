// Salesforce record ids: their form and their checksum.

/// Record ids: 15 case-sensitive letters and digits, or 18 with a case-check suffix.
enum SalesforceID {
    /// Whether this is an id of that form whose suffix, if it has one, fits.
    static func isValid(_ text: String, prefix: String = "") -> Bool {
        let characters = Array(text.utf8)
        guard characters.count == 15 || characters.count == 18, characters.allSatisfy(\.isASCIIAlphanumeric),
            characters.starts(with: prefix.utf8)
        else { return false }
        return characters.count == 15 || suffixFits(characters)
    }

    /// Each of the three suffix characters says which of five characters are capitals: bit *n* for the *n*th.
    private static func suffixFits(_ id: [UInt8]) -> Bool {
        for chunk in 0..<3 {
            var capitals: UInt8 = 0
            for position in 0..<5
            where (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(id[chunk * 5 + position]) {
                capitals |= 1 << UInt8(position)
            }
            let expected = capitals < 26 ? UInt8(ascii: "A") + capitals : UInt8(ascii: "0") + capitals - 26
            // The suffix itself is read in either case: it exists for systems that lose the case.
            guard id[15 + chunk] & 0xDF == expected & 0xDF else { return false }
        }
        return true
    }
}
