// Names and values as a form or a query spells them.

import Foundation

enum FormFields {
    /// Reads `application/x-www-form-urlencoded`, in which a plus stands for a space; of two fields with one name the
    /// first counts.
    static func read(_ text: some StringProtocol) -> [String: String] {
        var fields: [String: String] = [:]
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = decoded(parts[0])
            if fields[name] == nil { fields[name] = parts.count == 2 ? decoded(parts[1]) : "" }
        }
        return fields
    }

    private static func decoded(_ text: some StringProtocol) -> String {
        let spaced = String(text.map { $0 == "+" ? " " : $0 })
        return spaced.removingPercentEncoding ?? spaced
    }
}
