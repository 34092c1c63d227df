// Finds settings and sections by their keys: what the check for unknown keys asks.

extension SettingsReference {
    private static let byPath: [[String]: Entry] = {
        var byPath = Dictionary(uniqueKeysWithValues: entries.map { ($0.path, $0) })
        for entry in entries where entry.shape == .urls {
            byPath[entry.path.dropLast() + [entry.path[entry.path.count - 1] + "s"]] = entry
        }
        return byPath
    }()

    private static let sections: Set<[String]> = {
        Set(entries.flatMap { entry in (1...entry.path.count).map { Array(entry.path.prefix($0 - 1)) } })
            .subtracting([[]])
    }()

    static func entry(_ template: [String]) -> Entry? { byPath[template] }

    /// Whether settings stand under this key.
    static func isSection(_ template: [String]) -> Bool { sections.contains(template) }

    /// The names that may stand under a section.
    static func names(under template: [String]) -> [String] {
        let depth = template.count
        let paths = sections.map { $0 } + byPath.keys
        return Set(paths.filter { $0.count > depth && $0.starts(with: template) }.map { $0[depth] }).sorted()
    }

    /// The keys of the settings with this name, wherever they stand.
    static func keys(named name: String) -> [String] {
        entries.filter { $0.path.last == name }.map(\.key)
    }
}
