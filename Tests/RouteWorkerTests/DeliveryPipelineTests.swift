// The main path and its turns, without a broker and without HTTP: what is called, published and acknowledged.

import AMQP
import AMQPMessage
import IdempotencyStore
import InteractionAPI
import RoutingContract
import Testing

@testable import RouteWorker

@Suite(.timeLimit(.minutes(1))) struct DeliveryPipelineTests {
    private let results = "routing.results"
    private let deadLetters = "routing.dead-letters"
    private let now = StoreClock.system.now()

    @Test func aCommandIsCalledAnsweredAndAcknowledged() async {
        await PipelineStage.run { stage in
            stage.deliver(PipelineStage.delivery(1))
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(stage.api.calls.count == 1)
            let answers = stage.publisher.messages(to: results)
            #expect(answers.count == 1)
            #expect(answers[0].properties.correlationID == "call-1" && answers[0].header("Outcome") == "succeeded")
            #expect(stage.publisher.messages(to: deadLetters).isEmpty)
        }
    }

    @Test func aDuplicateIsAnsweredToItsOwnAddressWithoutACall() async {
        await PipelineStage.run { stage in
            stage.deliver(PipelineStage.delivery(1), PipelineStage.delivery(2, replyTo: "replies.7"))
            #expect(await stage.settled(2).count == 2)
            #expect(stage.api.calls.count == 1)
            let first = stage.publisher.messages(to: results)[0]
            let second = stage.publisher.messages(to: "replies.7")[0]
            #expect(second.properties.correlationID == "call-2")
            #expect(second.text.contains(#""duplicate":true"#) && first.text.contains(#""duplicate":false"#))
            #expect(first.properties.messageID == second.properties.messageID)
        }
    }

    @Test func aRequestIdUsedForAnotherCommandIsAConflict() async {
        await PipelineStage.run { stage in
            stage.deliver(
                PipelineStage.delivery(1),
                PipelineStage.delivery(2, attribute: #","routingInfo":{"queueId":"00G000000000001"}"#))
            #expect(await stage.settled(2).count == 2)
            #expect(stage.api.calls.count == 1)
            #expect(stage.publisher.messages(to: deadLetters).map { $0.header("Outcome") } == ["conflict"])
        }
    }

    @Test func aMessageThatIsNoCommandBecomesADeadLetterWithItsBody() async {
        var garbage = PipelineStage.delivery(1)
        garbage.message.body = Array("{ not json".utf8)
        await PipelineStage.run { stage in
            stage.deliver(garbage)
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            let letter = stage.publisher.messages(to: deadLetters)[0]
            #expect(letter.text == "{ not json" && letter.header("Outcome") == "invalid")
            #expect(stage.publisher.messages(to: results).count == 1)
            #expect(stage.api.calls.isEmpty)
        }
    }

    @Test func whatCannotBePublishedAgainIsRejectedToTheBroker() async {
        var huge = PipelineStage.delivery(1)
        huge.message.body = []
        huge.skippedBodyBytes = 1 << 30
        await PipelineStage.run { stage in
            stage.deliver(huge)
            #expect(await stage.settled(1) == [.reject(PipelineStage.receipt(1))])
            #expect(stage.publisher.messages(to: results)[0].text.contains("body-too-large"))
        }
    }

    @Test func aTransientFailureIsTriedAgainAndThenExhausted() async {
        let policy = OrgPolicy(
            retry: RetryPolicy(attempts: 2, backoff: Backoff(minimum: .zero, maximum: .zero)))
        await PipelineStage.run(
            api: ScriptedAPI([ScriptedAPI.busy, ScriptedAPI.accepted, ScriptedAPI.busy, ScriptedAPI.busy]),
            policy: policy
        ) { stage in
            stage.deliver(PipelineStage.delivery(1, request: 1))
            _ = await stage.settled(1)
            stage.deliver(PipelineStage.delivery(2, request: 2))
            _ = await stage.settled(1)
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["succeeded", "exhausted"])
            #expect(stage.publisher.messages(to: deadLetters).count == 1)
            #expect(stage.api.calls.count == 4)
        }
    }

    @Test func anUnknownEffectIsReportedWithoutASecondCall() async {
        await PipelineStage.run(api: ScriptedAPI([ScriptedAPI.lost])) { stage in
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            #expect(stage.api.calls.count == 1)
            #expect(stage.publisher.messages(to: deadLetters).map { $0.header("Outcome") } == ["unknown"])
        }
    }

    @Test func clearThenRouteDeletesUnderARequestIdOfItsOwn() async {
        let policy = OrgPolicy(
            retry: RetryPolicy(backoff: Backoff(minimum: .zero, maximum: .zero)), unknownEffect: .clearThenRoute)
        await PipelineStage.run(api: ScriptedAPI([ScriptedAPI.lost]), policy: policy) { stage in
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            let calls = stage.api.calls
            #expect(calls.map(\.key.kind) == [.route, .delete, .route])
            #expect(calls[0].key.request != calls[1].key.request && calls[0].key.request == calls[2].key.request)
            #expect(calls[1].payload == Array(#"{"conversationIdentifier":"c1"}"#.utf8))
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["succeeded"])
        }
    }

    /// Also where its claim could not be given back at first.
    @Test(arguments: [0, 2])
    func anExpiredCommandIsNotCalledAndItsRequestIdMayBeUsedAgain(failedReleases: Int) async {
        let store = FailingStore(
            BatchingIdempotencyStore(InMemoryStoreBackend()), failedReleases: failedReleases)
        await PipelineStage.run(store: store) { stage in
            stage.deliver(PipelineStage.delivery(1, deadline: now + .seconds(-5)))
            _ = await stage.settled(1)
            #expect(stage.api.calls.isEmpty)
            stage.deliver(PipelineStage.delivery(2, attribute: #","routingInfo":{"queueId":"00G000000000001"}"#))
            _ = await stage.settled(1)
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["expired", "succeeded"])
        }
    }

    @Test func aLaterDeleteSupersedesARouteThatWaitsInItsLane() async {
        let api = ScriptedAPI()
        api.hold()
        await PipelineStage.run(api: api) { stage in
            // The first is being called when the delete comes, so it is not superseded.
            stage.deliver(PipelineStage.delivery(1, request: 1, issuedAt: now))
            await api.waitForCalls(1)
            stage.deliver(
                PipelineStage.delivery(2, request: 2, issuedAt: now + .milliseconds(1)),
                PipelineStage.delivery(3, command: "delete", request: 3, issuedAt: now + .milliseconds(2)))
            await stage.taken()
            api.letGo()
            _ = await stage.settled(3)
            #expect(
                stage.publisher.messages(to: results).map { $0.header("Outcome") }
                    == ["succeeded", "superseded", "succeeded"])
            #expect(api.calls.map(\.key.kind) == [.route, .delete])
        }
    }

    @Test func anAnswerWithoutAQueueBecomesOneDeadLetter() async {
        let publisher = ScriptedPublisher(["replies.gone": [.returned(code: 312, text: "NO_ROUTE")]])
        await PipelineStage.run(publisher: publisher) { stage in
            stage.deliver(PipelineStage.delivery(1, replyTo: "replies.gone"))
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            let letters = publisher.messages(to: deadLetters)
            #expect(letters.map { $0.header("Reason") } == ["answer-unroutable"])
            #expect(letters[0].header("Outcome") == "succeeded")
        }
    }

    @Test func aNackedAnswerIsPublishedAgainAndThenBuried() async {
        let publisher = ScriptedPublisher([results: [.nacked, .nacked]])
        await PipelineStage.run(publisher: publisher) { stage in
            stage.deliver(PipelineStage.delivery(1))
            #expect(await stage.settled(1).count == 1)
            #expect(publisher.messages(to: results).count == 2)
            #expect(publisher.messages(to: deadLetters).map { $0.header("Reason") } == ["answer-unroutable"])
        }
    }

    @Test func aQueueThatIsNotReadyYetAfterAnOutageIsGivenTime() async {
        let away = PublishOutcome.failed(.connectionLost("reset"))
        let publisher = ScriptedPublisher([results: [away, away, .nacked]])
        await PipelineStage.run(publisher: publisher) { stage in
            stage.deliver(PipelineStage.delivery(1))
            #expect(await stage.settled(1).count == 1)
            #expect(publisher.messages(to: results).count == 4)
            #expect(publisher.messages(to: deadLetters).isEmpty)
        }
    }

    @Test func aDeadLetterThatCannotBePlacedKeepsItsCommandUnacknowledged() async {
        let publisher = ScriptedPublisher([
            deadLetters: [.returned(code: 312, text: "NO_ROUTE"), .failed(.connectionLost("reset")), .confirmed]
        ])
        var garbage = PipelineStage.delivery(1)
        garbage.message.body = []
        await PipelineStage.run(publisher: publisher) { stage in
            stage.deliver(garbage)
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            let letters = publisher.messages(to: deadLetters)
            #expect(letters.count == 3 && Set(letters.map(\.properties.messageID)).count == 1)
        }
    }

    @Test func directRepliesAreCopiedToTheResults() async {
        await PipelineStage.run { stage in
            stage.deliver(PipelineStage.delivery(1, replyTo: "amq.rabbitmq.reply-to.g2dkAA"))
            _ = await stage.settled(1)
            #expect(stage.publisher.messages(to: "amq.rabbitmq.reply-to.g2dkAA").count == 1)
            #expect(stage.publisher.messages(to: results).count == 1)
        }
    }

    @Test func whatWaitsOnALostChannelLeavesAndWhatIsCalledRecords() async {
        let api = ScriptedAPI()
        api.hold()
        await PipelineStage.run(api: api) { stage in
            stage.deliver(PipelineStage.delivery(1, request: 1), PipelineStage.delivery(2, request: 2))
            await api.waitForCalls(1)
            stage.pipeline.receive(
                .subscriptionLost(queue: PipelineStage.queue, generation: 1, .connectionLost("reset")))
            stage.pipeline.receive(.subscribed(queue: PipelineStage.queue, generation: 2))
            stage.deliver(
                PipelineStage.delivery(1, generation: 2, request: 1, redelivered: true),
                PipelineStage.delivery(2, generation: 2, request: 2, redelivered: true))
            // Whatever was told has been taken before the actor answers.
            await stage.taken()
            api.letGo()
            // The stale receipt may be handed over too: the consumer drops it.
            let settled = await stage.settled(3)
            #expect(
                Set(settled.suffix(2)).isSubset(of: [
                    .ack(Receipt(generation: 2, channel: 1, deliveryTag: 1)),
                    .ack(Receipt(generation: 2, channel: 1, deliveryTag: 2)),
                ]))
            #expect(api.calls.map(\.key.request).count == 2)
        }
    }

    @Test func aDrainFinishesWhatIsUnderWayAndLeavesTheRest() async {
        let api = ScriptedAPI()
        api.hold()
        await PipelineStage.run(api: api, concurrency: 1) { stage in
            stage.deliver(
                PipelineStage.delivery(1, request: 1, conversation: "a"),
                PipelineStage.delivery(2, request: 2, conversation: "b"))
            await api.waitForCalls(1)
            async let drained = stage.pipeline.drain(within: .seconds(60))
            // The drain is asked for before the call ends, since both stand in line for the same actor.
            while await !stage.pipeline.isDraining { await Task.yield() }
            api.letGo()
            #expect(await drained)
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(api.calls.count == 1)
        }
    }

    @Test func aStoreThatFailsForAWhileHoldsCommandsBackAndLosesNone() async {
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failures: 3)
        await PipelineStage.run(store: store) { stage in
            stage.deliver(PipelineStage.delivery(1))
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(stage.api.calls.count == 1)
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["succeeded"])
        }
    }

    @Test func aResultIsRecordedBeforeADrainEndsAlsoWhereTheStoreFailsForAWhile() async {
        let api = ScriptedAPI()
        api.hold()
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failures: 3)
        await PipelineStage.run(api: api, store: store) { stage in
            stage.deliver(PipelineStage.delivery(1))
            await api.waitForCalls(1)
            async let drained = stage.pipeline.drain(within: .seconds(60))
            while await !stage.pipeline.isDraining { await Task.yield() }
            api.letGo()
            #expect(await drained)
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["succeeded"])
        }
    }

    @Test func aStoreThatIsAwayHoldsUpNoDrainForLongerThanItMayTake() async {
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failures: .max)
        await PipelineStage.run(store: store) { stage in
            let (failures, failed) = AsyncStream<Void>.makeStream()
            store.whenClaimFails { failed.yield() }
            stage.deliver(PipelineStage.delivery(1))
            for await _ in failures { break }
            #expect(await !stage.pipeline.drain(within: .milliseconds(50)))
        }
    }

    /// The store had given the claim, which nobody could tell from one under which a call was begun.
    @Test func aClaimThatTheWorkerDoesNotKnowOfIsNoInterruptedCall() async {
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failures: 1)
        await PipelineStage.run(store: store) { stage in
            store.whenClaimFails {
                stage.pipeline.receive(
                    .subscriptionLost(queue: PipelineStage.queue, generation: 1, .connectionLost("by the test")))
                stage.pipeline.receive(.subscribed(queue: PipelineStage.queue, generation: 2))
                stage.deliver(PipelineStage.delivery(1, generation: 2, redelivered: true))
            }
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            #expect(stage.api.calls.count == 1)
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["succeeded"])
        }
    }

    /// Its own claim, which it could not give back, is no interrupted call.
    @Test func aClaimThatCouldNotBeGivenBackHoldsNobodyUp() async {
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failedReleases: 1)
        await PipelineStage.run(api: ScriptedAPI([ScriptedAPI.busy]), store: store) { stage in
            stage.deliver(PipelineStage.delivery(1))
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(stage.api.calls.count == 2)
            #expect(stage.publisher.messages(to: results).map { $0.header("Outcome") } == ["succeeded"])
        }
    }

    /// It supersedes nothing: for less than a call takes there will be none.
    @Test func aDeleteThatWillExpireSupersedesNothing() async {
        let api = ScriptedAPI()
        api.hold()
        let policy = OrgPolicy(callTimeout: .seconds(40), minimumCallTime: .seconds(40))
        await PipelineStage.run(api: api, policy: policy) { stage in
            stage.deliver(PipelineStage.delivery(1, request: 1, issuedAt: now))
            await api.waitForCalls(1)
            stage.deliver(
                PipelineStage.delivery(2, request: 2, issuedAt: now + .milliseconds(1)),
                PipelineStage.delivery(
                    3, command: "delete", request: 3, issuedAt: now + .milliseconds(2), deadline: now + .seconds(30)))
            await stage.taken()
            api.letGo()
            _ = await stage.settled(3)
            #expect(
                stage.publisher.messages(to: results).map { $0.header("Outcome") }
                    == ["succeeded", "succeeded", "expired"])
        }
    }
}
