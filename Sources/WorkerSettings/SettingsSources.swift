// Flags over environment over file over defaults: collects what each says and finds the value that counts.

import Configuration
import Yams

/// A value as the user wrote it: one text, or the texts of a list.
struct WrittenValue {
    var texts: [(text: String, place: SettingsPlace)]
    var place: SettingsPlace
}

/// Everything that was written, and which of it counts.
struct SettingsSources {
    typealias Path = [String]

    private(set) var problems = ProblemList()
    /// All values of all sources. Providers hold positions in here, not the values: a value keeps its place that way, and
    /// the access logs of swift-configuration, which an environment variable turns on, never see a password.
    private var values: [WrittenValue] = []
    private var file: [Path: Int] = [:]
    /// What an org's own file says; nothing else can say anything of that org.
    private var orgFile: [Path: Int] = [:]
    /// The names under `queues` and `orgs`, in the order of the file.
    private(set) var names: [String: [(name: String, place: SettingsPlace)]] = [:]
    /// Places of sections, for what is missing in them.
    private var sections: [Path: SettingsPlace] = [:]
    private var reader = ConfigReader(provider: InMemoryProvider(values: [:]))

    init(document: SettingsDocument?, environment: [String: String], flags: [String: String], problems: ProblemList) {
        self.problems = problems
        if let document, let root = document.root { walk(root, [], [], document) }
        if let queues = names[Keys.queuesSection], let first = queues.first {
            let texts = queues.map { (text: $0.name, place: $0.place) }
            file[Keys.queueNames.path] = add(WrittenValue(texts: texts, place: first.place))
        }

        var environmentValues: [Path: Int] = [:]
        var flagValues: [Path: Int] = [:]
        var fallbacks: [Path: Int] = [:]
        for entry in SettingsReference.entries where !entry.path.contains("*") {
            // A variable set to nothing counts as not set: compose files and charts pass them on like that.
            if let name = entry.environment, let text = environment[name], !text.isEmpty {
                environmentValues[entry.path] = add(entry.split(text, at: .environment(name)))
            }
            if let text = flags[entry.key] {
                flagValues[entry.path] = add(entry.split(text, at: .flag(entry.key)))
            }
            if let text = entry.fallback {
                fallbacks[entry.path] = add(entry.split(text, at: .builtIn))
            }
        }
        let keys = SettingsReference.entries.filter { !$0.path.contains("*") }.map(\.key)
        for key in flags.keys.sorted() where !keys.contains(key) {
            let isNamed = key.hasPrefix(Keys.queuesSection + ".") || key.hasPrefix(Keys.orgsSection + ".")
            let advice = Suggestion.nearest(to: key, among: keys).map { "did you mean \($0)?" } ?? "remove it"
            self.problems.add(
                .flag(key), [], isNamed ? "cannot be set so, write it into the file" : "is no setting, \(advice)")
        }
        reader = ConfigReader(providers: [
            Self.provider("flags", flagValues), Self.provider("environment", environmentValues),
            Self.provider("file", file), Self.provider("defaults", fallbacks),
        ])
    }

    private static func provider(_ name: String, _ values: [Path: Int]) -> InMemoryProvider {
        InMemoryProvider(
            name: name,
            values: Dictionary(
                uniqueKeysWithValues: values.map { path, index in
                    (AbsoluteConfigKey(path), ConfigValue(.int(index), isSecret: false))
                }))
    }

    private mutating func add(_ value: WrittenValue) -> Int {
        values.append(value)
        return values.count - 1
    }

    /// What counts for a key, with `names` in the place of its `*`; `nil` where nobody says anything.
    func written(_ path: Path) -> WrittenValue? {
        if let index = orgFile[path] { return values[index] }
        guard let index = try? reader.requiredInt(forKey: ConfigKey(path)) else { return nil }
        return values[index]
    }

    /// These sources and an org's own file, with the problems of that file alone.
    ///
    /// - Parameters:
    ///   - mapping: the file's settings of the org, without its alias.
    ///   - problems: those that the file has already.
    func with(
        orgFile mapping: Node.Mapping, of document: SettingsDocument, alias: String, problems: ProblemList
    ) -> SettingsSources {
        var sources = self
        sources.problems = problems
        sources.file = [:]
        let path = [Keys.orgsSection, alias]
        sources.sections[path] = document.place(1, 1)
        sources.walk(mapping, path, [Keys.orgsSection, "*"], document)
        sources.orgFile = sources.file
        return sources
    }

    /// Whether file, environment or flags say something of a key.
    func isWritten(_ path: Path) -> Bool {
        guard let place = written(path)?.place else { return false }
        return place != .builtIn
    }

    /// Where the value that counts stands, or else the nearest section around it.
    func place(_ path: Path) -> SettingsPlace? {
        if let written = written(path), written.place != .builtIn { return written.place }
        var path = path
        while !path.isEmpty {
            if let place = sections[path] { return place }
            path.removeLast()
        }
        return nil
    }

    /// - Parameters:
    ///   - place: where the problem stands, if that is known better than from the key.
    ///   - others: further keys that make the problem: its place is that of the first which somebody wrote.
    mutating func report(_ path: Path, _ reason: String, at place: SettingsPlace? = nil, with others: [Path] = []) {
        let written = ([path] + others).first { isWritten($0) } ?? path
        problems.add(place ?? self.place(written), path, reason)
    }

    // MARK: The file

    /// - Parameters:
    ///   - path: with the names that the user chose.
    ///   - template: the same with `*` in their places.
    private mutating func walk(_ mapping: Node.Mapping, _ path: Path, _ template: Path, _ document: SettingsDocument) {
        for (keyNode, node) in mapping where !problems.isFull {
            let place = document.place(of: keyNode)
            guard case .scalar(let key) = keyNode else {
                problems.add(place, path, "a key must be a name, write NAME: VALUE")
                continue
            }
            if let original = document.duplicates[key.string] {
                let last = mapping.first { $0.key.scalar?.string == original }?.key
                let line = last?.mark.map { " (again in line \($0.line))" } ?? ""
                problems.add(
                    place, path + [original], "stands more than once\(line), keep one of them")
                continue
            }
            let isNamed = template == [Keys.queuesSection] || template == [Keys.orgsSection]
            let child = path + [key.string]
            let childTemplate = template + [isNamed ? "*" : key.string]
            if isNamed {
                names[template[0], default: []].append((key.string, place))
                sections[child] = place
            }
            take(node, child, childTemplate, place, document)
        }
    }

    private mutating func take(
        _ node: Node, _ path: Path, _ template: Path, _ place: SettingsPlace, _ document: SettingsDocument
    ) {
        if SettingsReference.isSection(template) {
            sections[path] = place
            switch node {
            case .mapping(let mapping): walk(mapping, path, template, document)
            case _ where node.isNothing: break
            default:
                problems.add(document.place(of: node), path, "must be a mapping, write KEY: VALUE lines under it")
            }
        } else if let entry = SettingsReference.entry(template) {
            guard let value = value(of: node, entry, path, place, document) else { return }
            guard entry.shape == .urls else {
                file[path] = add(value)
                return
            }
            if file[entry.path] != nil { problems.add(place, path, "url and urls are both given, keep one of them") }
            file[entry.path] = add(value)
        } else {
            problems.add(place, path, "unknown key" + Suggestion.text(for: template))
        }
    }

    private mutating func value(
        of node: Node, _ entry: SettingsReference.Entry, _ path: Path, _ place: SettingsPlace,
        _ document: SettingsDocument
    ) -> WrittenValue? {
        let nodePlace = document.place(of: node)
        guard !node.isNothing else {
            problems.add(place, path, "has no value, write one (\(entry.values)) or remove the key")
            return nil
        }
        let wantsList = entry.shape == .list || (entry.shape == .urls && path != entry.path)
        switch node {
        case .scalar(let scalar) where !wantsList:
            return entry.split(scalar.string, at: nodePlace)
        case .sequence(let sequence) where wantsList:
            var value = WrittenValue(texts: [], place: nodePlace)
            for element in sequence {
                guard case .scalar(let scalar) = element, !element.isNothing else {
                    problems.add(
                        document.place(of: element), path, "holds an element that is no text, write a list of texts")
                    return nil
                }
                value.texts.append((scalar.string, document.place(of: element)))
            }
            return value
        default:
            problems.add(
                nodePlace, path,
                wantsList ? "must be a list, write [VALUE, VALUE]" : "must be a single value, write \(entry.values)")
            return nil
        }
    }
}

extension SettingsReference.Entry {
    /// One written text as the values it stands for.
    func split(_ text: String, at place: SettingsPlace) -> WrittenValue {
        let texts: [String]
        switch shape {
        case .scalar: texts = [text]
        case .list, .names: texts = text.split(separator: ",").map { $0.trimmingSpaces() }.filter { !$0.isEmpty }
        case .urls: texts = Self.splitURLs(text)
        }
        return WrittenValue(texts: texts.map { ($0, place) }, place: place)
    }

    /// A comma separates only where a URL follows: a password may hold one.
    private static func splitURLs(_ text: String) -> [String] {
        var urls: [Substring] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let trimmed = part.trimmingSpaces()
            if let last = urls.last, !trimmed.hasPrefix("amqp://"), !trimmed.hasPrefix("amqps://") {
                urls[urls.count - 1] = last + "," + part
            } else {
                urls.append(part)
            }
        }
        return urls.map { $0.trimmingSpaces() }
    }
}

extension Substring {
    fileprivate func trimmingSpaces() -> String {
        guard let first = firstIndex(where: { $0 != " " }), let last = lastIndex(where: { $0 != " " }) else {
            return ""
        }
        return String(self[first...last])
    }
}
