// The demonstration batch of deploy/examples: each line is what it is meant to show.

import CommandClient
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("Demonstration batch")
struct ForeignBatchTests {
    @Test("Each line decodes as a valid command, or is refused for the reason that it shows")
    func lines() throws {
        let file = try PackageFolder.url.appendingPathComponent("deploy/examples/demonstration.jsonl")
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let minute = Duration.seconds(60)
        // As deploy/quickstart fills them in.
        let text = try String(contentsOf: file, encoding: .utf8)
            .replacingOccurrences(of: "@NOW@", with: now.rfc3339)
            .replacingOccurrences(of: "@1-MINUTE-AGO@", with: (now + minute * -1).rfc3339)
            .replacingOccurrences(of: "@2-MINUTES-AGO@", with: (now + minute * -2).rfc3339)
        #expect(!text.contains("@"))
        let decoder = CommandDecoder(
            rules: DecodingRules(),
            orgs: OrgDirectory([
                KnownOrg(id: OrgID("00D5e0000012345")!, alias: "acme", defaultContext: "Partner1_ChannelDefinition1")
            ]))
        var generator = SeededGenerator(seed: 1)
        var kinds: [CommandKind: Int] = [:]
        var types: Set<String> = []
        var meanings: [CommandKey: Set<Fingerprint>] = [:]
        var repeated = 0
        var refused: [String] = []
        for line in text.split(separator: "\n") {
            let spec = try CommandSpec(line: Array(line.utf8), using: &generator)
            switch decoder.decode(spec.message, routingKey: "", queue: QueueDefaults(), now: now) {
            case .success(let command):
                kinds[command.key.kind, default: 0] += 1
                if let type = command.routingType { types.insert(type) }
                if !meanings[command.key, default: []].insert(command.fingerprint).inserted { repeated += 1 }
            case .failure(let invalid):
                refused.append(invalid.error.reason)
            }
        }
        #expect(types == ["Initial", "Transfer", "Conference"])
        #expect(kinds[.route, default: 0] > 0 && kinds[.delete, default: 0] > 0)
        #expect(repeated == 2, "a duplicate, and one whose keys stand in another order")
        #expect(meanings.values.count { $0.count > 1 } == 1, "one RequestId used for two meanings")
        #expect(
            refused == [
                "flow-and-queue", "flow-incomplete", "conversation-missing", "body-missing", "body-malformed",
                "body-malformed", "request-id-malformed", "org-unknown", "command-unknown",
            ])
    }
}
