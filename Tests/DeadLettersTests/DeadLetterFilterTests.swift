// Which dead letters a filter means, and how they are counted.

import AMQPMessage
import DeadLetters
import RoutingContract
import Testing

@Suite("Filters and groups of dead letters")
struct DeadLetterFilterTests {
    @Test("Nothing asked for means all")
    func all() {
        #expect(DeadLetterFilter().isEmpty)
        #expect(DeadLetterFilter().matches(Sample.letter(), Sample.names))
        #expect(DeadLetterFilter().matches(DeadLetter(Message(body: [])), Sample.names))
    }

    @Test("Each condition, alone and together; an org under any of its names")
    func conditions() {
        func matches(_ letter: DeadLetter = Sample.letter(), _ change: (inout DeadLetterFilter) -> Void) -> Bool {
            var filter = DeadLetterFilter()
            change(&filter)
            return filter.matches(letter, Sample.names)
        }
        #expect(matches { $0.requests = [Sample.request] } && !matches { $0.requests = ["other"] })
        #expect(matches(Sample.letter(request: Sample.request.uppercased())) { $0.requests = [Sample.request] })
        #expect(matches(Sample.letter(request: "No UUID")) { $0.requests = ["no uuid"] })
        for org in ["acme", "00D000000000001", "00D000000000001AAA"] {
            #expect(matches(Sample.letter(org: org)) { $0.orgs = ["acme"] }, "\(org)")
            #expect(!matches(Sample.letter(org: org)) { $0.orgs = ["globex"] }, "\(org)")
        }
        #expect(matches(Sample.letter(org: "00D000000000009AAA")) { $0.orgs = ["00D000000000009"] })
        #expect(matches { $0.outcomes = ["unknown", "rejected"] } && !matches { $0.outcomes = ["unknown"] })
        #expect(matches { $0.reasons = ["refused"] } && !matches { $0.reasons = ["timeout"] })
        #expect(
            !matches {
                $0.outcomes = ["rejected"]
                $0.reasons = ["timeout"]
            })
        // At the bounds.
        #expect(!matches { $0.before = Sample.now } && matches { $0.before = Sample.now + .milliseconds(1) })
        #expect(matches { $0.after = Sample.now } && !matches { $0.after = Sample.now + .milliseconds(1) })
        let nothing = DeadLetter(Message(body: []))
        #expect(!matches(nothing) { $0.before = Sample.now } && !matches(nothing) { $0.outcomes = ["rejected"] })
    }

    @Test("Groups: counts, oldest and newest, the largest first")
    func groups() {
        var groups = DeadLetterGroups()
        groups.add(Sample.letter("expired", reason: "deadline"), Sample.names)
        groups.add(Sample.letter(org: "acme", after: 5), Sample.names)
        groups.add(Sample.letter(org: "00D000000000001AAA", after: -5), Sample.names)
        groups.add(Sample.letter(org: "globex"), Sample.names)
        groups.add(DeadLetter(Message(body: [])), Sample.names)
        let all = groups.all
        #expect(all.map(\.count) == [2, 1, 1, 1])
        #expect(all.map(\.key.org) == ["acme", "acme", "globex", nil])
        #expect(all.map(\.key.outcome) == ["rejected", "expired", "rejected", nil])
        #expect(all[0].oldest == Sample.now + .seconds(-5) && all[0].newest == Sample.now + .seconds(5))
        #expect(all[0].example == "no flow")
    }
}

@Suite("The trail, and dead letters as JSON")
struct DeadLetterFormTests {
    @Test("An entry comes back as it went, and holds no body")
    func trail() throws {
        let letter = Sample.letter()
        let entry = TrailEntry(
            .replay, letter, at: Sample.now, by: "alice@host", reason: "it's \"mended\"", replay: 4,
            terms: ReplayTerms(deadline: Sample.now + .seconds(30), acceptsDuplicate: true))
        let message = entry.message()
        #expect(TrailEntry(message) == entry)
        #expect(
            message.properties.deliveryMode == 2 && message.properties.messageID != entry.message().properties.messageID
        )
        #expect(!String(decoding: message.body, as: UTF8.self).contains("secret"))
        let resolved = TrailEntry(
            .resolve, letter, at: Sample.now, by: "a", reason: nil, replay: 1, resolvedAs: "succeeded")
        #expect(TrailEntry(resolved.message()) == resolved)
        #expect(TrailEntry(Message(body: Array("{}".utf8))) == nil && TrailEntry(Message(body: [0xFF])) == nil)
    }

    @Test("An export holds all of it, on one line, whatever it is")
    func whole() throws {
        var letter = Sample.letter()
        letter.message.properties.headers["odd"] = .array([
            .void, .double(.infinity), .float(.nan), .bytes([0xFF]), .timestamp(.max), .uint64(.max),
            .malformedString([0xC3]),
            .decimal(scale: 2, value: 314), .table(["": .boolean(true)]),
        ])
        let text = DeadLetterJSON.text(DeadLetterJSON.whole(letter, Sample.names))
        #expect(!text.contains("\n") && text.contains(#""org":"acme""#) && text.contains(#""orgId":"00D000000000001""#))
        #expect(text.contains(#""body":"{\"secret\":1}""#) && text.contains("9999-12-31"))
        letter.message.body = [0xFF, 0x00]
        #expect(DeadLetterJSON.text(DeadLetterJSON.whole(letter, Sample.names)).contains(#""bodyBase64":"/wA=""#))
    }

    @Test("Whoever is at work has a name")
    func name() {
        let name = Operator.name(environment: [:])
        #expect(name.contains("@") && name.utf8.count <= 128)
        #expect(Operator.name(environment: ["SUDO_USER": "alice\n"]).hasPrefix("alice? as "))
    }
}
