// Orgs with files of their own: one bad file stops one org.

import Foundation
public import RoutingContract
import Yams

/// An org whose file in ``Settings/orgsFolder`` cannot be used: none of its calls can be made, and all other orgs go on.
public struct MisconfiguredOrg: Sendable, Hashable {
    /// The file's `alias`, or else its name.
    public var alias: String
    /// `nil` where the file does not tell it, or where it is the id of another org.
    public var id: OrgID?
    /// Where a command names none; as far as it could be read.
    public var defaultContext: String?
    public var file: String
    /// At least one.
    public var problems: [SettingsProblem]

    /// Whether this is what has become of an org that was served. Of a file that no longer says whose it is, its place tells.
    func wasOnce(_ org: Settings.Org) -> Bool {
        alias == org.alias || (id.map { $0 == org.id } ?? (file == org.file))
    }
}

/// Reads the files of a folder, each over what the main file says for all orgs.
struct OrgsFolder {
    /// Bytes of one file.
    static let maximumSize = 64 << 10
    static let maximumFiles = 10_000
    /// Told of one file.
    private static let maximumProblems = 20

    /// Those of the main file.
    let sources: SettingsSources
    /// With the orgs of the main file.
    let settings: Settings
    let environment: [String: String]
    let purpose: Settings.Purpose

    /// What one file came to.
    fileprivate struct Reading {
        var org: Settings.Org?
        var misconfigured: MisconfiguredOrg
    }

    /// All orgs, those of the main file first. Of two with one alias or id the later is misconfigured, and files come
    /// in the order of their aliases.
    ///
    /// - Throws: why nothing is known of any of the files.
    func read(_ folder: String) throws(Refusal) -> (orgs: [Settings.Org], misconfigured: [MisconfiguredOrg]) {
        var orgs = settings.orgs
        var misconfigured: [MisconfiguredOrg] = []
        var aliases = Set((sources.names[Keys.orgsSection] ?? []).map(\.name))
        var ids = Dictionary(orgs.map { ($0.id, $0.alias) }, uniquingKeysWith: { first, _ in first })
        let readings = try files(in: folder).map(read(file:))
        for var reading in readings.sorted(by: { $0.misconfigured.isBefore($1.misconfigured) }) {
            let (alias, id) = (reading.misconfigured.alias, reading.misconfigured.id)
            if aliases.contains(alias) {
                reading.refuse("alias", "\(shownName(alias)) is another org already, write alias: with another name")
            }
            if let id, let other = ids[id] {
                reading.refuse("id", "is also the id of \(other), keep one org for it")
            }
            if let org = reading.org, reading.misconfigured.problems.isEmpty {
                orgs.append(org)
            } else {
                misconfigured.append(reading.misconfigured)
            }
            aliases.insert(alias)
            if let id { ids[id] = ids[id] ?? alias }
        }
        return (orgs, misconfigured)
    }

    /// The paths, in order. What starts with a dot is none: editors and mounted volumes keep their own things so.
    private func files(in folder: String) throws(Refusal) -> [String] {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: folder)
        } catch {
            throw Refusal("\(shown(folder)) cannot be read, write the path of a folder that this user can read")
        }
        let files = names.filter { name in
            !name.hasPrefix(".") && (name.hasSuffix(".yaml") || name.hasSuffix(".yml"))
        }
        guard files.count <= Self.maximumFiles else {
            throw Refusal("holds \(files.count) files, \(Self.maximumFiles) at most can be read")
        }
        return files.sorted().map { folder.hasSuffix("/") ? folder + $0 : folder + "/" + $0 }
    }

    private func read(file: String) -> Reading {
        var reading = Reading(
            misconfigured: MisconfiguredOrg(alias: Self.name(of: file), file: file, problems: []))
        var problems = ProblemList(maximum: Self.maximumProblems)
        let place = SettingsPlace.file(file, line: 1, column: 1)
        guard Self.isRegular(file) else {
            problems.add(place, [], "is not a file that can be read, remove it or mend its permissions")
            reading.misconfigured.problems = problems.sorted
            return reading
        }
        if let bytes = SettingsDocument.bytes(of: file, limit: Self.maximumSize, &problems) {
            let document = SettingsDocument(bytes, name: file, limit: Self.maximumSize, &problems)
            if let root = document.root {
                read(root, of: document, &problems, into: &reading)
            } else {
                var defaults = SettingsReader(sources: sources)
                reading.misconfigured.defaultContext = defaults.optional(Keys.defaults.defaultContext)
                reading.salvage(from: bytes)
            }
        }
        reading.misconfigured.problems = problems.sorted
        return reading
    }

    private func read(
        _ root: Node.Mapping, of document: SettingsDocument, _ problems: inout ProblemList, into reading: inout Reading
    ) {
        let mapping = Node.Mapping(root.filter { $0.key.scalar?.string != "alias" }.map { ($0.key, $0.value) })
        let aliasNode = root.first { $0.key.scalar?.string == "alias" }?.value
        if let node = aliasNode {
            if let text = node.scalar?.string, !node.isNothing {
                reading.misconfigured.alias = text
            } else {
                problems.add(
                    document.place(of: node), ["alias"], "must be a single value, write a name or remove the key")
            }
        }
        let alias = reading.misconfigured.alias
        do throws(Refusal) {
            _ = try ValueForm<String>.alias.parse(alias)
        } catch {
            let place = aliasNode.map(document.place(of:)) ?? document.place(1, 1)
            problems.add(place, ["alias"], "\(shown(alias)) \(error.reason)")
        }
        var reader = SettingsReader(
            sources: sources.with(orgFile: mapping, of: document, alias: alias, problems: problems))
        let org = reader.org(alias, settings.worker, settings.commands)
        if let org {
            var checks = CrossChecks(sources: reader.sources, settings: settings)
            checks.check(org, environment, purpose)
            reader = SettingsReader(sources: checks.sources)
        }
        problems = reader.sources.problems
        reading.org = org
        reading.org?.file = document.name
        // Of two ids nobody can tell which is meant.
        if !document.duplicates.values.contains("id") {
            reading.misconfigured.id = org?.id ?? reader.optional(Keys.orgID, in: alias)
        }
        reading.misconfigured.defaultContext =
            org?.defaultContext ?? reader.optional(Keys.org.defaultContext, in: alias)
            ?? reader.optional(Keys.defaults.defaultContext)
    }

    private static func name(of file: String) -> String {
        let name = file.split(separator: "/").last.map(String.init) ?? file
        return String(name.dropLast(name.hasSuffix(".yaml") ? 5 : 4))
    }

    /// Opening what is none (a FIFO) could wait for ever.
    private static func isRegular(_ file: String) -> Bool {
        var status = stat()
        return stat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }
}

extension OrgsFolder.Reading {
    fileprivate mutating func refuse(_ key: String, _ reason: String) {
        misconfigured.problems.append(
            SettingsProblem(place: .file(misconfigured.file, line: 1, column: 1), key: key, reason: reason))
        // Nobody can tell which of the two a command would mean.
        misconfigured.id = nil
    }

    /// A file that is no YAML (a tab, a quote that is not closed) mostly still shows whose it is.
    fileprivate mutating func salvage(from bytes: [UInt8]) {
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            guard
                let match = line.wholeMatch(of: #/(id|alias|defaultContext):[ \t]*["']?([^"'# \t]+)["']?[ \t]*(#.*)?/#)
            else { continue }
            let text = String(match.output.2)
            switch match.output.1 {
            case "id": misconfigured.id = OrgID(text)
            case "alias": misconfigured.alias = text
            default:
                misconfigured.defaultContext =
                    (try? ValueForm<String>.context.parse(text)) ?? misconfigured.defaultContext
            }
        }
    }
}

extension MisconfiguredOrg {
    fileprivate func isBefore(_ other: MisconfiguredOrg) -> Bool { (alias, file) < (other.alias, other.file) }
}
