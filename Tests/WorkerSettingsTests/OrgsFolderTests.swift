// Orgs with files of their own: what they take over, and how far a mistake reaches.

import Foundation
import RoutingContract
import TestSupport
import Testing

@testable import WorkerSettings

/// A folder of orgs' files and a main file over it.
private struct Stage {
    let folder: TemporaryFolder
    var main = "defaults: {tokenFile: shared.token, baseURL: https://shared.example.com, defaultContext: P_C}\n"

    init(_ files: [String: String]) throws {
        folder = try TemporaryFolder()
        for (name, text) in files { _ = try folder.write(text, to: name) }
    }

    func load(_ environment: [String: String] = [:]) throws -> Settings {
        try Settings.load(
            text: main + "orgsFolder: \(folder.url.path)\n", named: "w.yaml", environment: environment)
    }

    /// Messages of one misconfigured org, without the path of the folder.
    func messages(_ alias: String) throws -> [String] {
        let org = try #require(try load().misconfigured.first { $0.alias == alias })
        return org.problems.map { $0.description.replacing(folder.url.path + "/", with: "") }
    }
}

@Suite struct OrgsFolderTests {
    @Test func filesAreOrgsOverTheDefaults() throws {
        var stage = try Stage([
            "globex.yaml": "id: 00D000000000002\nbaseURL: https://globex.example.com\nretry: {attempts: 3}\n",
            "b.yml": "alias: initech\nid: 00D000000000003AAA\ntokenFile: own.token\n",
            ".hidden.yaml": "nonsense", "README.md": "nonsense", "old.yaml~": "nonsense",
        ])
        stage.main += "orgs:\n  acme: {id: 00D000000000001}\n"
        let settings = try stage.load()
        #expect(settings.misconfigured.isEmpty)
        #expect(settings.orgs.map(\.alias) == ["acme", "globex", "initech"])
        #expect(settings.orgs[1].baseURL == "https://globex.example.com")
        #expect(settings.orgs[1].retry.attempts == 3)
        #expect(settings.orgs[1].token == .file("shared.token"))
        #expect(settings.orgs[2].token == .file("own.token"))
        #expect(settings.orgs[2].baseURL == "https://shared.example.com")
        #expect(settings.orgDirectory.find("00D000000000003")?.alias == "initech")
    }

    @Test("An org goes on whatever its file has become, as long as it is there: cut off, or bad under another alias")
    func aReloadKnowsABadFile() throws {
        let stage = try Stage([
            "a.yaml": "alias: acme\nid: 00D000000000001\n", "globex.yaml": "id: 00D000000000002\n",
            "initech.yaml": "id: 00D000000000003\n",
        ])
        let old = try stage.load()
        _ = try stage.folder.write("", to: "a.yaml")
        for gone in ["globex.yaml", "initech.yaml"] {
            try FileManager.default.removeItem(atPath: stage.folder.path(gone))
        }
        _ = try stage.folder.write("id: 00D000000000002\nretry: never\n", to: "globex-2.yaml")
        let (settings, change) = old.reloading(try stage.load())
        #expect(settings.orgs.map(\.alias) == ["acme", "globex"] && settings.orgs.allSatisfy(old.orgs.contains))
        #expect(change == SettingsChange(removed: ["initech"], kept: ["a", "globex-2"]))
        #expect(settings.orgDirectory.find("00D000000000002")?.alias == "globex")

        // Another org in its place is no org of its own.
        _ = try stage.folder.write("id: 00D000000000004\nretry: never\n", to: "a.yaml")
        #expect(old.reloading(try stage.load()).change.removed == ["acme", "initech"])
    }

    @Test func anOrgThatTheProxyKeepsFromBeingCalledStopsItselfAlone() throws {
        var stage = try Stage(["a.yaml": "id: 00D000000000001\nbaseURL: https://10.0.0.5\n"])
        stage.main += "http: {proxy: 'http://p:1'}\norgs: {b: {id: 00D000000000002}}\n"
        #expect(try stage.load().orgs.map(\.alias) == ["b"])
        #expect(try stage.messages("a").count == 1)
    }

    @Test func anEmptyFolderWaitsForOrgs() throws {
        #expect(try Stage([:]).load().orgs.isEmpty)
    }

    @Test func aFolderThatIsNotThereIsAProblemOfTheWhole() {
        #expect(
            problems(minimal + "orgsFolder: /nowhere/at/all\n") == [
                "w.yaml:6:13: orgsFolder: '/nowhere/at/all' cannot be read, write the path of a folder that this user can read"
            ])
    }

    @Test(
        "A bad file stops its own org, and says where and why",
        arguments: [
            (
                "id: 00D000000000002\ncallTimeout: soon\n", "00D000000000002",
                "bad.yaml:2:14: orgs.bad.callTimeout: 'soon' is not a whole number with a unit, write for example 30s "
                    + "(units: ms, s, m, h, d)"
            ),
            (
                "id: 00D000000000002\ncalltimeout: 5s\n", "00D000000000002",
                "bad.yaml:2:1: orgs.bad.calltimeout: unknown key, did you mean callTimeout?"
            ),
            (
                "baseURL: https://a.example.com\n", nil,
                "bad.yaml:1:1: orgs.bad.id: is missing, write the org's id (00D…)"
            ),
            (
                "id: 00D000000000002\nid: 00D000000000003\n", nil,
                "bad.yaml:1:1: orgs.bad.id: stands more than once (again in line 2), keep one of them"
            ),
            // Not YAML; whose file it is can be seen all the same.
            (
                "id: 00D000000000002AAA # theirs\n\tbaseURL: x\n", "00D000000000002",
                "bad.yaml:2:1: is a tab, indent with spaces"
            ),
            ("- id\n", nil, "bad.yaml:1:1: is not a mapping, write sections such as worker: and orgs:"),
            ("", nil, "bad.yaml:1:1: is empty, write at least orgs: (see the example)"),
            (
                "id: 00D000000000002\nretry: {minimum: 5s, maximum: 1s}\n", "00D000000000002",
                "bad.yaml:2:18: orgs.bad.retry.minimum: 5s is above maximum (1s), lower it or raise maximum"
            ),
            (
                "id: 00D000000000002\ntokenEnvironment: NOT_SET\n", "00D000000000002",
                "bad.yaml:2:19: orgs.bad.tokenEnvironment: names the environment variable NOT_SET, which is not set, set it"
            ),
            (
                "id: 00D000000000002\nalias: [a]\n", "00D000000000002",
                "bad.yaml:2:8: alias: must be a single value, write a name or remove the key"
            ),
        ] as [(String, String?, String)])
    func oneBadFile(text: String, id: String?, message: String) throws {
        let stage = try Stage(["bad.yaml": text, "good.yaml": "id: 00D000000000009\n"])
        let settings = try stage.load()
        #expect(settings.orgs.map(\.alias) == ["good"])
        #expect(try stage.messages("bad") == [message])
        #expect(settings.misconfigured.map(\.id) == [id.flatMap { OrgID($0) }])
        // Its commands are known for its own where its id is known.
        #expect(settings.orgDirectory.find("bad")?.id == id.flatMap { OrgID($0) })
        if id != nil { #expect(settings.orgDirectory.find("bad")?.defaultContext == "P_C") }
    }

    @Test func twoOfOneAliasOrId() throws {
        var stage = try Stage([
            "a-copy.yaml": "id: 00D000000000002\n", "a.yaml": "id: 00D000000000002\n",
            "b.yaml": "alias: main\nid: 00D000000000004\n", "c.yaml": "id: 00D000000000001AAA\n",
        ])
        stage.main += "orgs:\n  main: {id: 00D000000000001}\n"
        let settings = try stage.load()
        #expect(settings.orgs.map(\.alias) == ["main", "a"])
        #expect(settings.misconfigured.map(\.alias) == ["a-copy", "c", "main"])
        #expect(try stage.messages("a-copy") == ["a-copy.yaml:1:1: id: is also the id of a, keep one org for it"])
        #expect(try stage.messages("c") == ["c.yaml:1:1: id: is also the id of main, keep one org for it"])
        #expect(
            try stage.messages("main") == [
                "b.yaml:1:1: alias: main is another org already, write alias: with another name"
            ])
        // Neither takes anything from the org that stands.
        #expect(settings.orgDirectory.find("main")?.id == OrgID("00D000000000001"))
        #expect(settings.orgDirectory.find("a-copy") == nil)
    }

    @Test func whatIsNoFileIsTold() throws {
        let stage = try Stage([:])
        try FileManager.default.createDirectory(atPath: stage.folder.path("x.yaml"), withIntermediateDirectories: false)
        #expect(mkfifo(stage.folder.path("y.yaml"), 0o600) == 0)
        for name in ["x", "y"] {
            #expect(
                try stage.messages(name) == [
                    "\(name).yaml:1:1: is not a file that can be read, remove it or mend its permissions"
                ])
        }
    }

    @Test func aFileIsBounded() throws {
        let stage = try Stage(["bad.yaml": "id: 00D000000000002\n#" + String(repeating: "x", count: 70_000)])
        #expect(try stage.messages("bad") == ["bad.yaml:1:1: is larger than 64KiB, make it smaller"])
        #expect(try stage.load().misconfigured[0].id == OrgID("00D000000000002"))
        let full = try Stage(["bad.yaml": (0..<500).map { "k\($0): 1\n" }.joined()])
        #expect(try full.messages("bad").count == 21)
    }

    @Test func whatTheMainFileLacksIsToldTogetherWithTheFiles() throws {
        var stage = try Stage(["bad.yaml": "id: nonsense\n"])
        stage.main += "worker: {concurrency: many}\n"
        let error = #expect(throws: SettingsError.self) { try stage.load() }
        let all = try #require(error).problems.map(\.key)
        #expect(all == ["worker.concurrency", "orgs.bad.id"])
    }

    @Test func queuesMayNameOrgsOfTheFolder() throws {
        var stage = try Stage(["globex.yaml": "id: 00D000000000002\n", "bad.yaml": "id: 00D000000000003\nx: 1\n"])
        stage.main += "queues:\n  q: {defaultOrg: globex, allowedOrgs: [globex, bad, 00D000000000003AAA]}\n"
        #expect(try stage.load().queues[0].allowedOrgs.count == 3)
    }

    @Test func hundredsOfFilesAreRead() throws {
        var files: [String: String] = [:]
        for number in 100..<500 {
            files["org\(number).yaml"] = "id: 00D000000000\(number)\nbaseURL: https://o\(number).example.com\n"
        }
        files["org300.yaml"] = "id: 00D000000000300\nbaseURL: ftp://nowhere\n"
        let settings = try Stage(files).load()
        #expect(settings.orgs.count == 399)
        #expect(settings.misconfigured.map(\.alias) == ["org300"])
    }
}
