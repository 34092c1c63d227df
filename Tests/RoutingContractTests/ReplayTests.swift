// Dead letters read back, and the command that a replay publishes.

import AMQPMessage
import Testing

@testable import RoutingContract

@Suite struct ReplayTests {
    private static let rules: DecodingRules = {
        var rules = DecodingRules()
        rules.honoursReplay = true
        return rules
    }()

    private func letter(
        _ message: Message = Sample.message(), _ outcome: Outcome = .rejected, reason: String = "refused",
        replay: Int = 0, attempts: Int = 2
    ) throws -> DeadLetter {
        var subject: AnswerSubject
        switch Sample.decode(message) {
        case .success(let command): subject = AnswerSubject(command)
        case .failure(let invalid): subject = AnswerSubject(invalid, message: message)
        }
        subject.replay = replay
        let result = CommandResult(
            outcome: outcome, httpStatus: 400, error: CommandError(code: 10024, message: "no flow", reason: reason),
            attempts: attempts, receivedAt: Sample.now, completedAt: Sample.now, worker: "worker-1")
        return DeadLetter(
            try DeadLetterEncoder().encode(
                message, from: DeliveryOrigin(queue: "routing.commands", routingKey: "routing.commands"),
                about: subject, result: result, now: Sample.now + .seconds(1)))
    }

    private func replay(
        _ letter: DeadLetter, _ terms: ReplayTerms = ReplayTerms(), after: Duration = .seconds(5)
    ) throws(ReplayRefusal) -> Message {
        try letter.replay(
            terms, decoder: CommandDecoder(rules: Self.rules, orgs: Sample.directory()), queue: QueueDefaults(),
            routingKey: "routing.commands.replay", now: Sample.now + after)
    }

    private func refusal(
        _ letter: DeadLetter, _ terms: ReplayTerms = ReplayTerms(), after: Duration = .seconds(5)
    ) -> ReplayRefusal? {
        do throws(ReplayRefusal) {
            _ = try replay(letter, terms, after: after)
            return nil
        } catch {
            return error
        }
    }

    @Test func isReadAsItWasWritten() throws {
        let letter = try letter(replay: 3)
        #expect(letter.outcome == "rejected" && letter.reason == "refused" && letter.error == "no flow")
        #expect(letter.code == 10024 && letter.httpStatus == 400 && letter.attempts == 2 && letter.replay == 3)
        #expect(letter.worker == "worker-1" && letter.originQueue == "routing.commands")
        #expect(letter.receivedAt == Sample.now && letter.deadLetteredAt == Sample.now + .seconds(1))
        #expect(letter.command == "route" && letter.requestID == Sample.request && letter.org == Sample.org)
        #expect(letter.bodyBytes == Sample.route.utf8.count && letter.isComplete)
    }

    @Test func whatTheBrokerDeadLetteredIsReadFromItsHeader() {
        let death: FieldTable = [
            "reason": .string("rejected"), "queue": .string("routing.commands"), "time": .timestamp(1_772_366_400),
        ]
        let message = Sample.message(
            Sample.route, ["x-death": .array([.table(death)]), "Reason": .string("mine"), "Replay": .int32(9)])
        let letter = DeadLetter(message)
        #expect(letter.outcome == nil && letter.reason == "rejected" && letter.originQueue == "routing.commands")
        #expect(letter.deadLetteredAt == Sample.now && letter.replay == 0)
        let again = letter.replayMessage(ReplayTerms())
        #expect(again.properties.headers["x-death"] == nil && again.properties.headers["Reason"] == .string("mine"))
        #expect(again.properties.headers["Replay"] == .int64(1))
        // What says nothing at all is a dead letter as well.
        #expect(DeadLetter(Message(body: [1])).requestID == nil)
    }

    /// The command of any form: the same meaning, the same bytes, one count higher, and nothing that acts again.
    @Test func replayIsTheSameCommandWithAHigherCount() throws {
        var message = Sample.message(
            Sample.route,
            ["CC": .array([.string("other")]), "x-mine": .int32(1), "mine": .int32(2), "worker": .string("theirs")])
        message.properties.expiration = "60000"
        message.properties.userID = "somebody"
        message.properties.messageID = "m-1"
        message.properties.correlationID = "c-1"
        message.properties.replyTo = "amq.rabbitmq.reply-to.x"
        let first = try Sample.decode(message).get()
        var letter = try letter(message)
        for count in 1...3 {
            let again = try replay(letter)
            let command = try Sample.decode(again, rules: Self.rules).get()
            #expect(command.replay == count && !command.acceptsSecondEffect)
            #expect(
                command.fingerprint == first.fingerprint && command.key == first.key && command.reply == first.reply)
            #expect(again.body == message.body && again.properties.messageID == "m-1")
            #expect(again.properties.expiration == nil && again.properties.userID == nil)
            #expect(again.properties.deliveryMode == 2 && again.properties.correlationID == "c-1")
            let names = again.properties.headers.fields.map { $0.key.lowercased() }
            #expect(Set(names).count == names.count && names.contains("mine"))
            #expect(!names.contains { $0 == "cc" || $0.hasPrefix("x-") || $0 == "outcome" || $0 == "deadletteredat" })
            // It fails again.
            let original = letter.message.properties.headers["Original"]
            letter = try self.letter(again, replay: count)
            #expect(letter.message.properties.headers["Original"] == original)
        }
    }

    /// Whoever can write to the queue can write any number.
    @Test func aReplayCountBeyondAllBoundsIsNoTrap() throws {
        for count in [Int64.max, Int64.max - 1, 1_000_001] {
            var message = try letter(replay: 1).message
            message.properties.headers["Replay"] = .int64(count)
            let letter = DeadLetter(message)
            #expect(refusal(letter) == .tooManyReplays)
            guard case .failure = Sample.decode(letter.replayMessage(ReplayTerms()), rules: Self.rules) else {
                Issue.record("a count above the bound is accepted")
                continue
            }
        }
    }

    @Test func theRequestIDStandsInForAMissingMessageID() throws {
        #expect(try replay(letter()).properties.messageID == Sample.request)
    }

    @Test func anUnknownEffectNeedsConsentForEachReplay() throws {
        let unknown = try letter(Sample.message(), .unknown)
        #expect(refusal(unknown) == .mayHaveTakenEffect)
        let again = try replay(unknown, ReplayTerms(acceptsDuplicate: true))
        #expect(try Sample.decode(again, rules: Self.rules).get().acceptsSecondEffect)
        #expect(refusal(try letter(again, .unknown, replay: 1)) == .mayHaveTakenEffect)
    }

    @Test func aPassedDeadlineNeedsANewOne() throws {
        let passed = try letter(Sample.message(Sample.route, ["deadline": .string("2026-03-01T12:00:03Z")]), .expired)
        #expect(refusal(passed) == .deadlinePassed(Sample.now + .seconds(3)))
        let terms = ReplayTerms(deadline: Sample.now + .seconds(60))
        let command = try Sample.decode(replay(passed, terms), rules: Self.rules).get()
        #expect(command.deadline == Sample.now + .seconds(60))
        // A transfer has one without saying so.
        let transfer = try letter(
            Sample.message(
                #"{"conversationIdentifier":"c","routingType":"Transfer"}"#,
                ["IssuedAt": .string("2026-03-01T12:00:00Z")]),
            .exhausted)
        #expect(refusal(transfer) == nil)
        #expect(refusal(transfer, after: .seconds(41)) == .deadlinePassed(Sample.now + .seconds(40)))
        #expect(refusal(transfer, terms, after: .seconds(41)) == nil)
    }

    @Test func whatIsOlderThanAllThatIsRememberedNeedsConsent() throws {
        let old = try letter(Sample.message(Sample.route, ["IssuedAt": .string("2026-03-01T12:00:00Z")]), .expired)
        let tomorrow = Duration.seconds(25 * 3600)
        #expect(refusal(old, after: tomorrow) == .olderThanRetention(issuedAt: Sample.now))
        #expect(refusal(old, ReplayTerms(acceptsDuplicate: true), after: tomorrow) == nil)
    }

    /// Its answer had nowhere to go: it is announced again and never called for.
    @Test func aSucceededOneIsOnlyAnnounced() throws {
        let answered = try letter(Sample.message(), .succeeded, reason: AnswerReason.unroutable)
        let again = try replay(answered, ReplayTerms(acceptsDuplicate: true))
        let command = try Sample.decode(again, rules: Self.rules).get()
        #expect(!command.acceptsSecondEffect)
        // However long it is under way: should its outcome be forgotten by then, it must not be called for anew.
        #expect(command.deadline == Sample.now + .seconds(5))
        #expect(
            refusal(answered, ReplayTerms(acceptsDuplicate: true), after: .seconds(25 * 3600))
                == .olderThanRetention(issuedAt: Sample.now))
    }

    @Test func whatWouldComeToNothingIsRefused() throws {
        let invalid = try letter(Sample.message("{}"), .invalid)
        guard case .stillInvalid(let error) = refusal(invalid) else {
            Issue.record("\(String(describing: refusal(invalid)))")
            return
        }
        #expect(error.reason == "conversation-missing")
        var incomplete = try letter()
        incomplete.isComplete = false
        #expect(refusal(incomplete) == .incomplete)
        #expect(refusal(try letter(replay: 1_000_000)) == .tooManyReplays)
    }
}
