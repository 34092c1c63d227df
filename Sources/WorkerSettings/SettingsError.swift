// What is wrong with the settings, in the words that the user reads.

/// Everything that is wrong with the settings: every problem found, not the first only.
public struct SettingsError: Error, Sendable, Hashable, CustomStringConvertible {
    /// At least one. Those of the file first, from top to bottom.
    public var problems: [SettingsProblem]

    /// One line for each problem.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// One thing that is wrong. Its text holds no secret.
public struct SettingsProblem: Sendable, Hashable, CustomStringConvertible {
    /// Where the value stands; `nil` where something is missing that could stand in several places.
    public var place: SettingsPlace?
    /// The key with its sections (`orgs.acme.baseURL`); empty where the whole file is meant.
    public var key: String
    /// What is wrong, and what to do about it.
    public var reason: String

    /// `file:line:column: key: reason, what to do`
    public var description: String {
        // A flag is named by its key.
        let key = place == .flag(key) ? "" : key
        return [place?.description ?? "settings", key, reason].filter { !$0.isEmpty }.joined(separator: ": ")
    }
}

/// Where a value stands.
public enum SettingsPlace: Sendable, Hashable, CustomStringConvertible {
    /// Line and column count from 1; the column counts Unicode scalars.
    case file(String, line: Int, column: Int)
    case environment(String)
    case flag(String)
    /// Nowhere: it is the default.
    case builtIn

    public var description: String {
        switch self {
        case .file(let name, let line, let column): "\(name):\(line):\(column)"
        case .environment(let name): "environment variable \(name)"
        case .flag(let name): "--set \(name)"
        case .builtIn: "default"
        }
    }
}

/// Collects problems, each once.
struct ProblemList {
    /// Enough to work on; a file that is no settings at all can hold tens of thousands.
    static let maximum = 100

    private let maximum: Int
    private var problems: [SettingsProblem] = []

    init(maximum: Int = Self.maximum) {
        self.maximum = maximum
    }

    var isFull: Bool { problems.count >= maximum }

    mutating func add(_ place: SettingsPlace?, _ path: [String], _ reason: String) {
        let key = path.map(shownName).joined(separator: ".")
        let problem = SettingsProblem(place: place, key: key, reason: reason)
        if !isFull, !problems.contains(problem) { problems.append(problem) }
    }

    /// Throws what was collected, if anything was.
    ///
    /// - Parameter others: problems of other files, told behind these.
    func throwIfAny(and others: [SettingsProblem] = []) throws(SettingsError) {
        guard !problems.isEmpty else { return }
        throw SettingsError(problems: sorted + others)
    }

    /// In the order of the file.
    var sorted: [SettingsProblem] {
        let sorted = problems.enumerated().sorted { left, right in
            (left.element.position, left.offset) < (right.element.position, right.offset)
        }
        var all = sorted.map(\.element)
        if isFull {
            let reason = "there may be more than these \(maximum) problems, mend them and look again"
            all.append(SettingsProblem(place: nil, key: "", reason: reason))
        }
        return all
    }
}

extension SettingsProblem {
    /// Places of the file come in its order, everything else after them.
    fileprivate var position: Int {
        guard case .file(_, let line, let column) = place else { return .max }
        return line << 24 + column
    }
}

/// What a message shows of a name or value that the user wrote: bounded, on one line, without passwords or tokens.
func shown(_ text: String) -> String {
    let line = text.unicodeScalars.map { scalar in
        scalar.properties.generalCategory == .control ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }.joined()
    // The user part of a URL and a token of the form `{orgId}!{opaque}` may stand where they do not belong.
    if line.contains("@") || line.contains("!") { return "(not shown)" }
    return "'\(line.count > 60 ? line.prefix(60) + "…" : line)'"
}

/// A name as it stands in a key: in quotes only where it needs them.
func shownName(_ name: String) -> String {
    let text = shown(name)
    return text.dropFirst().dropLast() == name && !name.isEmpty ? name : text
}
