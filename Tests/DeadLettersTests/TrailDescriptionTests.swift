// The AsyncAPI description of the trail says what the code writes.

import AMQPMessage
import DeadLetters
import Foundation
import RoutingContract
import TestSupport
import Testing
import Yams

@Suite("The trail as AsyncAPI describes it")
struct TrailDescriptionTests {
    private let components: Node

    init() throws {
        let file = try PackageFolder.url.appending(path: "deploy/asyncapi/route-worker.yaml")
        let description = try Yams.compose(yaml: String(contentsOf: file, encoding: .utf8))
        components = try #require(description?["components"])
    }

    @Test("An entry reads each example, and writes it again with no member more or less")
    func examples() throws {
        let examples = try #require(components["messages"]?["trail"]?["examples"]?.sequence)
        for example in examples {
            let payload = try #require(example["payload"])
            let body = try JSONSerialization.data(withJSONObject: payload.any)
            let entry = try #require(TrailEntry(Message(body: Array(body))))
            #expect(Set(entry.object.keys) == Set(try #require(payload.mapping).keys.compactMap(\.string)))
            #expect(
                try JSONSerialization.data(withJSONObject: entry.object, options: .sortedKeys)
                    == JSONSerialization.data(withJSONObject: payload.any, options: .sortedKeys))
        }
        #expect(examples.count == 2)
    }

    @Test("It names every member and action, and those that are always there")
    func members() throws {
        let schema = try #require(components["schemas"]?["trailPayload"])
        func names(_ node: Node?) -> Set<String> { Set(node?.sequence?.compactMap(\.string) ?? []) }
        let terms = ReplayTerms(deadline: Sample.now, acceptsDuplicate: true)
        let full = TrailEntry(
            .replay, Sample.letter(), at: Sample.now, by: "a@b", reason: "why", replay: 1, terms: terms,
            resolvedAs: "failed")
        let properties = try #require(schema["properties"]?.mapping)
        #expect(Set(properties.keys.compactMap(\.string)) == Set(full.object.keys))
        let least = TrailEntry.forget(
            DeadLetter(Message(body: [])), of: try #require(OrgID("00D000000000001")), at: Sample.now, by: "a@b",
            reason: nil)
        #expect(names(schema["required"]) == Set(least.object.keys).subtracting(["org"]))
        #expect(names(properties["action"]?["enum"]) == Set(TrailEntry.Action.allCases.map(\.rawValue)))
        #expect(names(properties["resolvedAs"]?["enum"]) == Set(Resolution.allCases.map(\.rawValue)))
    }

    @Test("Of a forgotten conversation only the RequestId stays, where it is one")
    func forgotten() throws {
        let org = try #require(OrgID("00D000000000001"))
        func entry(_ letter: DeadLetter) -> TrailEntry {
            .forget(letter, of: org, at: Sample.now, by: "a", reason: nil)
        }
        #expect(entry(Sample.letter(org: "a person's name")).org == org.description)
        #expect(entry(Sample.letter()).requestID == Sample.request && entry(Sample.letter()).deadLetterID == "m")
        #expect(entry(Sample.letter(request: "a person's name")).requestID == nil)
        let foreign = DeadLetter(Message(properties: MessageProperties(messageID: "name", type: "name"), body: []))
        #expect(entry(foreign).deadLetterID == nil && entry(foreign).command == nil && entry(foreign).requestID == nil)
    }
}
