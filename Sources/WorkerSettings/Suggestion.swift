// What an unknown key was probably meant to be.

enum Suggestion {
    /// `, did you mean X?`, or what may stand there; starts with a comma.
    static func text(for template: [String]) -> String {
        guard let name = template.last else { return ", remove it" }
        let siblings = SettingsReference.names(under: template.dropLast()).filter { $0 != "*" }
        if let nearest = nearest(to: name, among: siblings) { return ", did you mean \(nearest)?" }
        if let elsewhere = SettingsReference.keys(named: name).first {
            return ", did you mean \(elsewhere)?"
        }
        guard !siblings.isEmpty else { return ", remove it" }
        return ", remove it (known here: \(siblings.joined(separator: ", ")))"
    }

    /// The name with the fewest edits, if they are few for its length, or else one that starts the same.
    static func nearest(to name: String, among names: [String]) -> String? {
        let wanted = Array(name.lowercased().prefix(64))
        let ranked = names.map { (name: $0, distance: distance(wanted, Array($0.lowercased()))) }
            .min { ($0.distance, $0.name) < ($1.distance, $1.name) }
        if let ranked, ranked.distance <= max(1, ranked.name.count / 3) { return ranked.name }
        guard wanted.count >= 3 else { return nil }
        return names.filter { $0.lowercased().starts(with: wanted) || wanted.starts(with: $0.lowercased()) }.min()
    }

    /// Levenshtein's distance, where two neighbours exchanged count as one edit.
    private static func distance(_ left: [Character], _ right: [Character]) -> Int {
        var rows = [Array(0...right.count)]
        for i in 0..<left.count {
            var row = [i + 1]
            for j in 0..<right.count {
                var best = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    best = min(best, rows[i - 1][j - 1] + 1)
                }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[left.count][right.count]
    }
}
