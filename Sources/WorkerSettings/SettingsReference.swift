// The reference of all settings, as data and as a Markdown table: README and `--help` are made from it.

/// What can be set, where, and what it means.
public enum SettingsReference {
    /// How a value is written.
    public enum Shape: Sendable, Hashable {
        case scalar
        /// A list in the file, separated by commas elsewhere.
        case list
        /// URLs separated by commas, or in the file as a list under the same key with an `s`.
        case urls
        /// A mapping in the file whose keys are names; names separated by commas elsewhere.
        case names
    }

    /// One setting.
    public struct Entry: Sendable, Hashable {
        /// Its sections and name; `*` stands for a name that the user chooses.
        public let path: [String]
        /// The values that are taken, with bounds and unit.
        public let values: String
        /// The default, written as in the file; `nil` where there is no fixed one.
        public let fallback: String?
        /// What stands for the default where there is no fixed one.
        public let shownDefault: String?
        /// The environment variable that goes over the file; `nil` for settings of the file alone.
        public let environment: String?
        public let shape: Shape
        /// Whether messages leave its value out.
        public let isSecret: Bool
        public let summary: String

        /// `worker.concurrency`; `orgs.ALIAS.id`.
        public var key: String {
            var shown = path
            if let star = path.firstIndex(of: "*") { shown[star] = path[0] == Keys.orgsSection ? "ALIAS" : "NAME" }
            return shown.joined(separator: ".")
        }
    }

    /// Every setting, in the order of the file.
    public static let entries: [Entry] = Keys.all

    /// A Markdown table of all settings. What an org takes over from `defaults` is not repeated.
    public static func markdown() -> String {
        var lines = ["| key | values | default | environment variable | meaning |", "|---|---|---|---|---|"]
        for entry in entries where !(entry.path.starts(with: [Keys.orgsSection, "*"]) && entry.path.last != "id") {
            let isDefault = entry.path.first == "defaults"
            let key =
                "`\(entry.key)`" + (isDefault ? ", `orgs.ALIAS.\(entry.path.dropFirst().joined(separator: "."))`" : "")
            let fallback = entry.fallback.map { "`\($0)`" } ?? entry.shownDefault ?? "none"
            let variable = entry.environment.map { "`\($0)`" } ?? ""
            let values = entry.shape == .list ? "list: \(entry.values)" : entry.values
            lines.append("| \(key) | \(values) | \(fallback) | \(variable) | \(entry.summary) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The environment variables with their meaning, one a line, for `--help`.
    public static func environmentHelp() -> String {
        let rows = entries.compactMap { entry in entry.environment.map { ($0, entry.summary) } }
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { name, summary in
            "  " + name + String(repeating: " ", count: width - name.count + 2) + summary
        }.joined(separator: "\n")
    }
}
