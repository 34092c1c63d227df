// Files that are no settings: by mistake, or by somebody who means harm.

import Foundation
import RoutingContract
import Testing

@testable import WorkerSettings

@Suite struct HostileFileTests {
    static func messages(for bytes: [UInt8]) -> [String] {
        do {
            _ = try Settings.load(bytes: bytes, named: "w.yaml")
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test(arguments: [
        Case("", "w.yaml:1:1: is empty, write at least orgs: (see the example)"),
        Case("# nothing\n---\n", "w.yaml:1:1: is empty, write at least orgs: (see the example)"),
        Case("- a\n- b\n", "w.yaml:1:1: is not a mapping, write sections such as worker: and orgs:"),
        Case("hello", "w.yaml:1:1: is not a mapping, write sections such as worker: and orgs:"),
        Case("worker:\n\tname: a\n", "w.yaml:2:1: is a tab, indent with spaces"),
        Case("worker: {}\n---\nlog: {}\n", "w.yaml:2:1: starts a second document here, keep one and remove the ---"),
        Case(
            "worker: {name: \"a\n",
            "w.yaml:2:1: is not YAML here (found unexpected end of stream), check indentation, colons and quotes in "
                + "this line and the one before"),
        Case(
            "worker: &w {name: a}\nlog: *w\n",
            "w.yaml:1:9: anchors and aliases are not supported, write the value out each time"),
        Case(
            "worker: {name: *w}\n",
            "w.yaml:1:16: is read as an alias (*name), which is not supported, put a value that starts with * in quotes"
        ),
        Case(
            "worker:\n  name: a\u{0}b\n",
            "w.yaml:2:1: cannot be read here (control characters are not allowed), remove the character"),
        Case(
            "worker: {? [a] : b}\n", "w.yaml:1:12: worker: a key must be a name, write NAME: VALUE"),
    ])
    func says(_ example: Case) {
        let found = problems(example.text, purpose: .tools)
        #expect(found == [example.message])
    }

    @Test func notUTF8() {
        let bytes = Array("worker:\n  name: ".utf8) + [0xFF, 0xFE, 0x0A]
        #expect(Self.messages(for: bytes) == ["w.yaml:2:1: is not UTF-8 here, save the file as UTF-8"])
        let utf16 = Array("worker: {}".utf16).flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        #expect(Self.messages(for: [0xFF, 0xFE] + utf16) == ["w.yaml:1:1: is not UTF-8 here, save the file as UTF-8"])
    }

    @Test func aByteOrderMarkIsSkipped() {
        let text = minimal + "worker:\n  concurrency: x\n"
        let found = Self.messages(for: [0xEF, 0xBB, 0xBF] + Array(text.utf8))
        #expect(found == problems(text) && found.count == 1, "\(found)")
    }

    @Test func windowsLineEndsKeepTheLineNumbers() {
        let text = minimal.replacingOccurrences(of: "\n", with: "\r\n") + "worker:\r\n  concurrency: x\r\n"
        #expect(problems(text).first?.hasPrefix("w.yaml:7:16: worker.concurrency: ") == true)
    }

    @Test func tooLarge() {
        let bytes = [UInt8](repeating: UInt8(ascii: "#"), count: SettingsDocument.maximumSize + 1)
        #expect(Self.messages(for: bytes) == ["w.yaml:1:1: is larger than 1MiB, make it smaller"])
    }

    @Test(arguments: ["[", "{a: ", "- ", "? ", "{? "])
    func deepNesting(_ unit: String) {
        let found = problems("worker: \n  " + String(repeating: unit, count: 20_000))
        #expect(!found.isEmpty)
    }

    /// Each of these could be an anchor for libyaml, and all of the words that are none are left alone.
    @Test func anchorsAreFoundWhereverTheyStand() {
        for text in [
            "a: &x 1", "&x a: 1", "- &x", "[&x a]", "[1,&x a]", "{&x a: 1}", "{\"a\":&x 1}", "? &x a", "!t &x a",
            "a:\n  &x\n  b: 1", "--- &x a", "a: \"#\"\nb: &x 1", "a: 'it # &x'", "a:\t&x 1", "\u{FEFF}&x a: 1",
        ] {
            #expect(SettingsDocument.anchors(in: text).count == 1, "\(text)")
        }
        for text in ["a: R&D", "a: https://h/?a=1&b=2", "# see &x", "  # &x", "a: this & that"] {
            #expect(SettingsDocument.anchors(in: text).isEmpty, "\(text)")
        }
    }

    @Test func anAliasBombIsRefusedUnread() {
        var text = "a0: &a0 [x, x]\n"
        for level in 1...60 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
        text += "? *a60\n: 1\n"
        #expect(problems(text).count == 10)
    }

    @Test func duplicateKeysComeWithEverythingElse() {
        let text = """
            worker: {concurrency: 0}
            orgs:
              acme: {id: 00D000000000001, baseURL: "https://a.example.com", tokenFile: t}
              "acme": {id: 00D000000000002, baseURL: "https://b.example.com", tokenFile: t}
              globex:
                id: 00D000000000003
                baseURL: https://c.example.com
                tokenFile: t
                tokenFile: u
            log: {level: info, format: json, level: debug}
            worker: {name: ä}
            """
        #expect(
            problems(text) == [
                "w.yaml:1:1: worker: stands more than once (again in line 11), keep one of them",
                "w.yaml:3:3: orgs.acme: stands more than once (again in line 4), keep one of them",
                "w.yaml:8:5: orgs.globex.tokenFile: stands more than once (again in line 9), keep one of them",
                "w.yaml:10:7: log.level: stands more than once (again in line 10), keep one of them",
                "w.yaml:11:16: worker.name: 'ä' is no worker name, write 1 to 128 printable ASCII characters",
            ])
    }

    @Test func manyProblemsEnd() {
        let text = (0..<50_000).map { "k\($0): 1\n" }.joined()
        let found = problems(text)
        #expect(found.count == ProblemList.maximum + 1)
        #expect(found.last == "settings: there may be more than these 100 problems, mend them and look again")
    }

    @Test func thousandsOfOrgsLoad() throws {
        let orgs = (0..<5_000).map { "  org\($0): {id: 00D0000000\(10_000 + $0), callTimeout: 5s}\n" }.joined()
        let text = "defaults: {baseURL: 'https://a.example.com', tokenFile: t}\norgs:\n" + orgs
        #expect(try load(text).orgs.count == 5_000)
    }

    @Test func manyDuplicatesEnd() {
        let text = (0..<60).map { "k\($0): 1\nk\($0): 2\n" }.joined()
        #expect(problems(text).contains { $0.contains("stands more than once in its mapping, keep one") })
        #expect(problems("'': 1\n'': 2\n").count == 1)
    }

    @Test func filesThatCannotBeRead() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "settings-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let missing = folder.appending(path: "none.yaml").path
        #expect(throws: SettingsError.self) { try Settings.load(file: missing, environment: [:]) }
        do {
            _ = try Settings.load(file: missing, environment: [:])
        } catch {
            #expect(
                "\(error)"
                    == "\(missing):1:1: cannot be opened (No such file or directory), check path and permissions")
        }
        do {
            _ = try Settings.load(file: folder.path, environment: [:])
            Issue.record("a folder was read")
        } catch {
            #expect(error.problems.count == 1)
            #expect("\(error)".contains("check that it is a file and not a folder"))
        }
        let file = folder.appending(path: "w.yaml")
        try Data(minimal.utf8).write(to: file)
        #expect(try Settings.load(file: file.path, environment: [:]).orgs.count == 1)
    }

    /// Nothing that a file holds stops the process; random changes of a good file end in settings or in messages.
    @Test func changedFilesNeverTrap() {
        let seed = UInt64.random(in: .min ... .max)
        var generator = SeededGenerator(seed: seed)
        let good = Array(Settings.example.utf8)
        for _ in 0..<300 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[index] = UInt8.random(in: .min ... .max, using: &generator)
                case 1: bytes.remove(at: index)
                default:
                    bytes.insert(
                        Array("&*[]{}:#'\"|>-?!%@\n\t ,".utf8).randomElement(using: &generator) ?? 0, at: index)
                }
            }
            let found = Self.messages(for: bytes)
            #expect(
                found.allSatisfy { $0.hasPrefix("w.yaml:") || $0.hasPrefix("settings: ") }, "seed \(seed): \(found)")
        }
    }
}
