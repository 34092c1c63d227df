// An org in trouble, through the whole pipeline: set aside, probed, brought back.

import AMQP
import AMQPMessage
import Foundation
import IdempotencyStore
import InteractionAPI
import RoutingContract
import TestSupport
import Testing

@testable import RouteWorker

@Suite(.timeLimit(.minutes(1))) struct ParkingTests {
    private static let lot = ParkingQueue.name(of: PipelineStage.queue, org: PipelineStage.org.id)
    private static let noToken = CallResult.notSent(
        CallFailure(reason: CallFailure.Reason.tokenUnavailable, message: "no token"))

    private func policy(minimumCalls: Int = 2) -> OrgPolicy {
        OrgPolicy(
            retry: RetryPolicy(attempts: 5, backoff: Backoff(minimum: .zero, maximum: .zero)),
            parking: ParkingPolicy(
                minimumCalls: minimumCalls, probe: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(4))))
    }

    private func stage(
        _ script: [CallResult], lots: ScriptedLots = ScriptedLots(), policy: OrgPolicy? = nil,
        store: (any IdempotencyStore)? = nil, _ body: (PipelineStage) async throws -> Void
    ) async rethrows {
        try await PipelineStage.run(
            api: ScriptedAPI(script), publisher: ScriptedPublisher(lots: lots), policy: policy ?? self.policy(),
            lots: lots, store: store, body)
    }

    /// Lets probes, which have been held, go on once so many commands are parked: an org that a probe finds well before that
    /// has nothing parked.
    private func probe(_ stage: PipelineStage, once count: Int) async throws {
        try await until("parked commands") { stage.lots!.count(Self.lot) >= count }
        stage.api.letGo()
    }

    private func answers(_ stage: PipelineStage) -> [String] {
        stage.publisher.messages(to: "routing.results").map { $0.properties.correlationID ?? "" }
    }

    @Test func commandsOfAnOrgWithoutATokenComeBackInOrderWhenThereIsOne() async throws {
        // The command, and two probes.
        try await stage([Self.noToken, Self.noToken, Self.noToken]) { stage in
            stage.api.hold(.delete)
            stage.deliver(
                PipelineStage.delivery(1, request: 1), PipelineStage.delivery(2, request: 2),
                PipelineStage.delivery(3, request: 3, conversation: "c2"))
            try await probe(stage, once: 3)
            // From the commands queue, and then once more from the parking queue.
            let settled = await stage.settled(6)
            #expect(settled.count == 6)
            #expect(Set(answers(stage)) == ["call-1", "call-2", "call-3"])
            let first = answers(stage).firstIndex(of: "call-1")!
            #expect(first < answers(stage).firstIndex(of: "call-2")!)
            let results = stage.publisher.messages(to: "routing.results")
            #expect(results.allSatisfy { $0.header("Outcome") == "succeeded" })
            // What had no token did not count.
            #expect(results.allSatisfy { $0.text.contains(#""attempts":1"#) })
            #expect(stage.publisher.messages(to: "routing.dead-letters").isEmpty)
            // The marker of the last turn goes, too.
            try await until("an empty parking queue") { stage.lots!.count(Self.lot) == 0 }
        }
    }

    /// Nobody else would give it back, and who has the command next would take it for interrupted.
    @Test func aCommandIsParkedOnceItsClaimIsGivenBack() async throws {
        let store = FailingStore(BatchingIdempotencyStore(InMemoryStoreBackend()), failedReleases: 2)
        try await stage([Self.noToken, Self.noToken], store: store) { stage in
            stage.api.hold(.delete)
            stage.deliver(PipelineStage.delivery(1))
            try await probe(stage, once: 1)
            _ = await stage.settled(2)
            let result = try #require(stage.publisher.messages(to: "routing.results").first)
            #expect(result.header("Outcome") == "succeeded" && result.text.contains(#""attempts":1"#))
        }
    }

    @Test func theBreakerParksWhatWaitsForAnotherAttempt() async throws {
        try await stage([ScriptedAPI.busy, ScriptedAPI.busy, ScriptedAPI.busy]) { stage in
            stage.api.hold(.delete)
            stage.deliver(PipelineStage.delivery(1))
            try await probe(stage, once: 1)
            _ = await stage.settled(2)
            let result = stage.publisher.messages(to: "routing.results")[0]
            #expect(result.header("Outcome") == "succeeded" && result.text.contains(#""attempts":3"#))
            #expect(stage.lots!.log.contains("subscribe"))
        }
    }

    @Test func freshCommandsDoNotOvertakeParkedOnes() async throws {
        try await stage([Self.noToken]) { stage in
            stage.api.hold(.delete)
            // Some come before the org is parked, some while it is, and some while it returns or later.
            for (requests, next) in [(1...14, "prepare"), (15...27, "subscribe"), (28...40, "unsubscribe")] {
                for request in requests {
                    stage.deliver(
                        PipelineStage.delivery(UInt64(request), request: request, conversation: "c\(request % 3)"))
                }
                try await until(next) { stage.lots!.log.contains(next) }
                if next == "prepare" { try await probe(stage, once: 1) }
            }
            try await until("all answers") { answers(stage).count >= 40 }
            for conversation in 0..<3 {
                let mine = answers(stage).compactMap { Int($0.dropFirst("call-".count)) }
                    .filter { $0 % 3 == conversation }
                #expect(mine == mine.sorted())
            }
            #expect(stage.api.calls.filter { $0.key.kind == .route }.count == 41)
        }
    }

    @Test func overdueCommandsSayBetweenProbesThatTheyExpired() async throws {
        // Probes fail for as long as the test runs.
        var policy = policy()
        policy.parking!.probe = Backoff(minimum: .seconds(600), maximum: .seconds(600))
        policy.minimumCallTime = .zero
        try await stage([Self.noToken], policy: policy) { stage in
            let deadline = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000) + 300)
            stage.deliver(
                PipelineStage.delivery(1, request: 1), PipelineStage.delivery(2, request: 2, deadline: deadline))
            // Both parked, then the overdue one taken out of the middle.
            _ = await stage.settled(3)
            #expect(answers(stage) == ["call-2"])
            #expect(stage.publisher.messages(to: "routing.results")[0].header("Outcome") == "expired")
            // The marker behind them goes, too; the other command stays.
            try await until("the marker's way out") { stage.lots!.count(Self.lot) <= 1 }
            #expect(stage.lots!.log.contains("look") && stage.lots!.count(Self.lot) == 1)
        }
    }

    @Test func withoutTheRightToParkCommandsAreTriedAgainInPlace() async throws {
        await stage([Self.noToken, Self.noToken], lots: ScriptedLots(.refused("403"))) { stage in
            stage.deliver(PipelineStage.delivery(1))
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(stage.publisher.messages(to: "routing.results")[0].header("Outcome") == "succeeded")
        }
    }

    @Test func whatCannotBeParkedAfterAllKeepsItsOrgsLimit() async throws {
        var policy = policy()
        policy.maximumConcurrency = 1
        try await stage([], lots: ScriptedLots(.refused("403")), policy: policy) { stage in
            // The second time it is known that nothing can be parked.
            for time in 0...1 {
                let troubled = stage.api.calls.count + 1
                stage.api.tell(Self.noToken)
                stage.api.hold(after: troubled, .route)
                for number in (8 * time + 1)...(8 * time + 8) {
                    stage.deliver(PipelineStage.delivery(UInt64(number), request: number, conversation: "c\(number)"))
                }
                await stage.api.waitForCalls(troubled)
                // Nothing else waits for anything but a slot, or its backoff.
                try await until("calls of all that run") {
                    let running = await stage.pipeline.load.running
                    return running > 0 && stage.api.underWay == running
                }
                #expect(stage.api.underWay == 1)
                stage.api.letGo()
                _ = await stage.settled(8)
                try await until("a live org") { await stage.pipeline.isLive(PipelineStage.org.id) }
            }
        }
    }

    @Test func aContextOfItsOwnThatDoesNotFitParksTheOrgOnceAndIsThenRefused() async throws {
        let misfit = CallResult.answered(
            CallAnswer(status: 403, body: Array(#"{"code":10005,"message":"no"}"#.utf8)))
        let cleared = CallResult.answered(CallAnswer(status: 202, body: Array(#"{"success":true}"#.utf8)))
        try await stage([misfit, cleared, misfit]) { stage in
            stage.api.hold(.delete)
            var delivery = PipelineStage.delivery(1)
            delivery.message.properties.headers["AuthorizationContext"] = .string("Other_Channel")
            stage.deliver(delivery)
            try await probe(stage, once: 1)
            _ = await stage.settled(2)
            #expect(stage.publisher.messages(to: "routing.results")[0].header("Outcome") == "rejected")
        }
    }

    /// What mends the org is another default context, with which the same command has another meaning.
    @Test func aCommandThatWasRefusedForTheOrgsContextIsCalledWithTheMendedOne() async throws {
        let misfit = CallResult.answered(
            CallAnswer(status: 403, body: Array(#"{"code":10005,"message":"no"}"#.utf8)))
        try await stage([misfit]) { stage in
            stage.api.hold(.delete)
            stage.deliver(PipelineStage.delivery(1))
            try await until("a parked command") { stage.lots!.count(Self.lot) == 1 }
            let org = KnownOrg(id: PipelineStage.org.id, alias: "acme", defaultContext: "P_Mended")
            await stage.pipeline.replaceOrgs(
                decoder: CommandDecoder(rules: DecodingRules(), orgs: OrgDirectory([org])),
                queueDefaults: [QueueDefaults()], policies: [org.id: policy()])
            stage.api.letGo()
            _ = await stage.settled(2)
            #expect(stage.publisher.messages(to: "routing.results")[0].header("Outcome") == "succeeded")
            #expect(stage.api.calls.last?.context == "P_Mended")
        }
    }

    @Test(arguments: [1, 4])
    func aCommandThatIsRefusedAgainAndAgainWhileOthersSucceedIsItsOwnTrouble(concurrency: Int) async throws {
        let api = ScriptedAPI { command in
            command.conversation == "bad" ? .answered(CallAnswer(status: 403, body: Array("<html>".utf8))) : nil
        }
        let lots = ScriptedLots()
        try await PipelineStage.run(
            api: api, publisher: ScriptedPublisher(lots: lots), policy: policy(), concurrency: concurrency, lots: lots
        ) { stage in
            stage.deliver(PipelineStage.delivery(1, conversation: "bad"))
            var tag: UInt64 = 1
            while !answers(stage).contains("call-1"), tag < 100 {
                tag += 1
                stage.deliver(PipelineStage.delivery(tag, request: Int(tag), conversation: "c\(tag)"))
                let answer = "call-\(tag)"
                try await until("the answer to another") { answers(stage).contains(answer) }
            }
            let results = stage.publisher.messages(to: "routing.results")
            let own = try #require(results.first { $0.properties.correlationID == "call-1" })
            #expect(own.header("Outcome") == "rejected" && own.text.contains(#""reason":"forbidden""#))
            #expect(results.count { $0.header("Outcome") == "succeeded" } == results.count - 1)
            #expect(own.text.contains(#""attempts":1"#))
            try await until("a live org") { await stage.pipeline.isLive(PipelineStage.org.id) }
        }
    }

    @Test func aParkingQueueLostBeforeItsLastCommandIsDoneIsWorkedOffInOrder() async throws {
        let api = ScriptedAPI([Self.noToken])
        // The probe waits for both to be parked, and what is called for from the parking queue for its channel to be lost.
        api.hold(after: 1)
        let lots = ScriptedLots()
        try await PipelineStage.run(
            api: api, publisher: ScriptedPublisher(lots: lots), policy: policy(), lots: lots
        ) { stage in
            stage.deliver(PipelineStage.delivery(1, request: 1), PipelineStage.delivery(2, request: 2))
            try await until("both in the parking queue") { lots.count(Self.lot) == 2 }
            await api.waitForCalls(2)
            api.letGoHeld()
            await api.waitForCalls(3)
            try await until("an org that is live again") {
                await stage.pipeline.snapshot.orgs.allSatisfy { !$0.isParked }
            }
            lots.loseChannel(of: Self.lot)
            stage.deliver(PipelineStage.delivery(3, request: 3))
            api.letGo()
            try await until("the answer of the call under way") { !answers(stage).isEmpty }
            lots.reopenChannel(of: Self.lot)
            try await until("all answers") { Set(answers(stage)) == ["call-1", "call-2", "call-3"] }
            // The first was called for already; its second delivery is a duplicate.
            let routes = stage.api.calls.filter { $0.key.kind == .route }
            #expect(routes.map { $0.key.request.description.suffix(1) } == ["1", "1", "2", "3"])
        }
    }

    @Test func aForgedCountOfDeliveriesStopsNothing() async throws {
        var fresh = PipelineStage.delivery(1, redelivered: true)
        fresh.message.properties.headers["x-delivery-count"] = .int64(.max)
        let parked = ParkedMessage(
            message: PipelineStage.delivery(2, request: 2, conversation: "c2").message,
            origin: DeliveryOrigin(queue: PipelineStage.queue, routingKey: PipelineStage.queue),
            receivedAt: Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), earlierDeliveries: .max,
            deadline: nil)
        try await stage([]) { stage in
            stage.deliver(fresh)
            _ = await stage.settled(1)
            stage.lots!.put(try parked.encoded(messageID: "m"), in: Self.lot)
            #expect(await stage.pipeline.lookForLeftOvers())
            _ = await stage.settled(1)
            #expect(answers(stage) == ["call-1", "call-2"])
            let results = stage.publisher.messages(to: "routing.results")
            #expect(results.allSatisfy { $0.header("Outcome") == "exhausted" })
        }
    }

    @Test(arguments: [0, 2])
    func leftOversOfAnEarlierLifeAreBroughtBack(failedLooks: Int) async throws {
        let lots = ScriptedLots(failedLooks: failedLooks)
        let delivery = PipelineStage.delivery(1)
        let parked = ParkedMessage(
            message: delivery.message,
            origin: DeliveryOrigin(queue: PipelineStage.queue, routingKey: PipelineStage.queue),
            receivedAt: Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), earlierDeliveries: 0,
            deadline: nil)
        lots.put(try parked.encoded(messageID: "m"), in: Self.lot)
        await stage([], lots: lots) { stage in
            await stage.pipeline.findLeftOvers()
            _ = await stage.settled(1)
            #expect(answers(stage) == ["call-1"])
        }
    }

    @Test func aClearingTakesATokenOfTheRateLimit() async throws {
        var policy = policy(minimumCalls: 100)
        policy.rateLimit = 2
        policy.unknownEffect = .clearThenRoute
        let cleared = CallResult.answered(CallAnswer(status: 202, body: Array(#"{"success":true}"#.utf8)))
        await stage([ScriptedAPI.lost, cleared], policy: policy) { stage in
            let start = ContinuousClock.now
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            #expect(stage.api.calls.map(\.key.kind) == [.route, .delete, .route])
            stage.deliver(PipelineStage.delivery(2, request: 2, conversation: "c2"))
            _ = await stage.settled(1)
            // Four requests, of which two can be made at once.
            #expect(ContinuousClock.now - start >= .milliseconds(950))
        }
    }

    @Test func limitsThatAReloadBringsHoldAtOnce() async throws {
        var policy = policy()
        policy.maximumConcurrency = 1
        let api = ScriptedAPI()
        api.hold()
        await PipelineStage.run(api: api, policy: policy) { stage in
            for request in 1...8 {
                stage.deliver(PipelineStage.delivery(UInt64(request), request: request, conversation: "c\(request)"))
            }
            await api.waitForCalls(1)
            policy.maximumConcurrency = 3
            await stage.pipeline.use(policies: [PipelineStage.org.id: policy])
            await api.waitForCalls(3)
            api.letGo()
            _ = await stage.settled(8)
            #expect(api.mostAtOnce == 3)
        }
    }

    @Test func howOftenAnOrgInTroubleIsProbedChangesWithAReload() {
        var policy = policy()
        let org = OrgState(policy: policy, concurrency: 4, prefetches: [16], workers: 1, marker: 0, now: .zero)
        policy.parking!.probe = Backoff(minimum: .seconds(600), maximum: .seconds(600))
        org.use(policy, concurrency: 4, workers: 1, now: .zero)
        var random = SeededGenerator(seed: 1)
        _ = org.gate.trouble(.token, now: .zero, using: &random)
        #expect(org.gate.dueAt! >= .seconds(300))
    }

    @Test func anOrgsRateLimitHoldsBackItsCallsAndNoOthers() async throws {
        var policy = policy()
        policy.rateLimit = 20
        await stage([], policy: policy) { stage in
            let start = ContinuousClock.now
            for request in 1...25 {
                stage.deliver(PipelineStage.delivery(UInt64(request), request: request, conversation: "c\(request)"))
            }
            _ = await stage.settled(25)
            // One second's worth at once; the other five have to wait for a twentieth of a second each.
            #expect(ContinuousClock.now - start >= .milliseconds(240))
        }
    }

    @Test func anOrgWithoutAContextOfItsOwnIsProbedWithThatOfTheCommandThatFailed() async throws {
        let lots = ScriptedLots()
        let api = ScriptedAPI([ScriptedAPI.busy, ScriptedAPI.busy])
        let policy = OrgPolicy(
            retry: RetryPolicy(attempts: 5, backoff: Backoff(minimum: .zero, maximum: .zero)),
            parking: ParkingPolicy(
                minimumCalls: 2, probe: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(4))))
        api.hold(.delete)
        try await PipelineStage.run(api: api, publisher: ScriptedPublisher(lots: lots), policy: policy, lots: lots) {
            stage in
            let org = PipelineStage.org.id
            await stage.pipeline.replaceOrgs(
                decoder: CommandDecoder(
                    rules: DecodingRules(), orgs: OrgDirectory([KnownOrg(id: org, alias: "acme")])),
                queueDefaults: [QueueDefaults()], policies: [org: policy])
            var delivery = PipelineStage.delivery(1)
            delivery.message.properties.headers["AuthorizationContext"] = .string("Own")
            stage.deliver(delivery)
            // It is parked, and comes back.
            try await probe(stage, once: 1)
            _ = await stage.settled(2)
            #expect(api.calls.map(\.key.kind) == [.route, .route, .delete, .route])
            #expect(api.calls.allSatisfy { $0.context == "Own" })
        }
    }
}

extension DeliveryPipeline {
    fileprivate func isLive(_ org: OrgID) -> Bool { orgs[org]!.gate.isLive }
}
