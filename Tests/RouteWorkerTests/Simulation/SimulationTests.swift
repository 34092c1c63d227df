// The promises of the pipeline, held against random histories of everything around it.

import AMQP
import AMQPMessage
import FleetControls
import Foundation
import InteractionAPI
import NIOCore
import RoutingContract
import Testing

@testable import RouteWorker

/// One random history: commands, troubles and faults for half a minute, then calm until nothing is left to do.
///
/// A failed seed is run again with SIMULATION_SEED, and SWIFT_DETERMINISTIC_HASHING=1 in both runs; SIMULATION_RUNS says
/// how many.
struct Simulation {
    enum Kind: CaseIterable {
        /// One worker, whose commands queues are its own.
        case alone
        /// Two workers that take partitions from each other.
        case partitioned
        /// Two workers on the same queues, between which there is no order.
        case shared
    }

    private static let troubled: Duration = .seconds(30)
    private static let calm: Duration = .seconds(600)

    let kind: Kind
    let world: SimulatedWorld
    let orgs: [KnownOrg]
    private let unknownEffect: UnknownEffectPolicy
    private let settings: PipelineSettings
    private(set) var workers: [SimulatedWorker] = []

    init(seed: UInt64) {
        world = SimulatedWorld(seed: seed)
        kind = Kind.allCases.randomElement(using: &world.random)!
        let kind = kind
        orgs = (0...world.chosen(0...2)).map {
            KnownOrg(id: OrgID("00D00000000000\($0)")!, alias: "org\($0)", defaultContext: "P_C")
        }
        unknownEffect = [.report, .report, .report, .retry, .clearThenRoute].randomElement(using: &world.random)!
        let prefetch = world.chosen(3...30)
        var settings = PipelineSettings(
            worker: "simulated", concurrency: world.chosen(1...6),
            queues: (0...world.chosen(0...1)).map {
                .init(name: "commands.\($0)", prefetch: prefetch, lock: kind == .partitioned ? "owner.\($0)" : nil)
            },
            lease: .seconds(12), policies: Self.policies(of: orgs, unknownEffect, world))
        world.deliveryLimit = world.chosen(0...3) == 0 ? 2 : PipelineSettings.usualDeliveryLimit
        settings.deliveryLimit = world.deliveryLimit
        self.settings = settings
        world.keepsOrder = kind != .shared
        world.mayRepeat = settings.policies.values.contains { $0.unknownEffect != .report }
        world.faultPercent = [0, 0, 2, 10, 30].randomElement(using: &world.random)!
        world.calmAt = Self.troubled
        world.refusesLots = world.chosen(0...7) == 0
        for name in settings.queues.map(\.name)
            + [SimulatedWorld.results, SimulatedWorld.replies, SimulatedWorld.deadLetters, SimulatedWorld.elsewhere]
        {
            world.broker.declare(name)
        }
    }

    private static func policies(
        of orgs: [KnownOrg], _ unknownEffect: UnknownEffectPolicy, _ world: SimulatedWorld
    ) -> [OrgID: OrgPolicy] {
        var policies: [OrgID: OrgPolicy] = [:]
        for org in orgs {
            policies[org.id] = OrgPolicy(
                callTimeout: .seconds(5), retry: RetryPolicy(attempts: world.chosen(2...8), budget: .seconds(60)),
                unknownEffect: unknownEffect,
                maximumConcurrency: [nil, 1, 2, 3].randomElement(using: &world.random)!,
                rateLimit: world.chosen(0...4) == 0 ? 5 : nil,
                parking: ParkingPolicy(
                    minimumCalls: world.chosen(1...5), window: .seconds(10),
                    probe: Backoff(minimum: .milliseconds(200), maximum: .seconds(4))))
        }
        return policies
    }

    mutating func run() {
        addWorker()
        if kind != .alone { addWorker() }
        for worker in workers { worker.start() }
        for queue in settings.queues { workers.randomElement(using: &world.random)!.wanted.insert(queue.name) }
        publish()
        trouble()
        for _ in 0..<world.chosen(0...9) {
            advance(to: min(world.uptime + .milliseconds(world.chosen(0...8000)), Self.troubled))
            fault()
        }
        advance(to: max(world.uptime, Self.troubled))
        for org in orgs {
            say(.resume, of: org.id)
            say(.mode(.live), of: org.id)
        }
        advance(to: Self.troubled + Self.calm / 2)
        replay()
        advance(to: Self.troubled + Self.calm)
        check()
        for worker in workers where !worker.isDead && !worker.isDraining { worker.drain() }
        advance(to: Self.troubled + Self.calm + Self.calm)
        for worker in workers where worker.isDraining && !worker.hasEnded {
            world.violated("\(worker.number) never ends")
        }
    }

    private mutating func addWorker() { workers.append(SimulatedWorker(workers.count, world, settings, orgs: orgs)) }

    private func advance(to time: Duration) {
        if time > world.uptime { world.loop.advanceTime(by: TimeAmount(time - world.uptime)) }
    }

    /// Each conversation has its queue, as in the partitioned topology, and its commands come in the order of their numbers.
    /// Some come again, and some of those with another meaning.
    private func publish() {
        let hasIssueTimes = Bool.random(using: &world.random)
        let conversations = world.chosen(1...4)
        var time: Int64 = 0
        var earlier: [(key: CommandKey, place: Int, isValid: Bool)] = []
        for _ in 0..<world.chosen(5...90) {
            if world.chosen(0...4) == 0 { time += Int64(world.chosen(0...4000)) }
            var command = (
                key: CommandKey(
                    org: orgs.randomElement(using: &world.random)!.id,
                    kind: world.chosen(0...7) == 0 ? .delete : .route,
                    request: RequestID.random(using: &world.random)),
                place: world.chosen(1...conversations), isValid: world.chosen(0...19) != 0
            )
            if world.chosen(0...11) == 0, let first = earlier.randomElement(using: &world.random) { command = first }
            earlier.append(command)
            let context = world.chosen(0...39) == 0 ? "P_D" : "P_C"
            let replyTo = world.chosen(0...3) == 0 ? SimulatedWorld.replies : nil
            let patience = world.chosen(0...5) == 0 ? Duration.seconds(world.chosen(1...30)) : nil
            let (key, place, isValid) = command
            let queue = settings.queues[place % settings.queues.count].name
            world.after(time...time) { [world] in
                let isDelete = key.kind == .delete
                let type = isDelete ? "" : #","routingType":"Initial""#
                var message = SimulationWitness.Sent(
                    request: key.request, key: isValid ? key : nil,
                    conversation: ConversationKey(org: key.org, conversation: "c\(place)"), queue: queue,
                    context: context,
                    body: Array((isValid ? #"{"conversationIdentifier":"c\#(place)"\#(type)}"# : "{").utf8))
                if hasIssueTimes { message.issuedAt = world.wall }
                if let patience { message.deadline = world.wall + patience }
                message.replyTo = replyTo
                world.send(message) { message.command(number: $0, key.kind) }
            }
        }
    }

    private func trouble() {
        let answers: [CallResult] = [
            ScriptedAPI.busy, ScriptedAPI.lost, ScriptedAPI.accepted,
            .notSent(CallFailure(reason: CallFailure.Reason.tokenUnavailable, message: "no token")),
            .notSent(CallFailure(reason: CallFailure.Reason.connectFailed, message: "refused")),
            .answered(CallAnswer(status: 403, body: Array(#"{"code":10003}"#.utf8))),
            .answered(CallAnswer(status: 503, body: Array(#"{"code":10019}"#.utf8))),
            .answered(CallAnswer(status: 400, body: Array(#"{"code":10055}"#.utf8))),
            .answered(CallAnswer(status: 400, body: Array(#"{"code":10001}"#.utf8))),
            .answered(CallAnswer(status: 429, body: [], retryAfter: "8")),
            .answered(CallAnswer(status: 429, body: [], retryAfter: "2")),
        ]
        for _ in 0..<world.chosen(0...6) {
            let from = Duration.milliseconds(world.chosen(0...25_000))
            world.troubles.append(
                SimulatedWorld.Trouble(
                    org: orgs.randomElement(using: &world.random)!.id, from: from,
                    to: min(from + .milliseconds(world.chosen(100...12_000)), Self.troubled),
                    result: answers.randomElement(using: &world.random)!,
                    latency: [1...20, 100...900, 2000...6000].randomElement(using: &world.random)!))
        }
        for trouble in world.troubles { world.transcript("trouble \(trouble)") }
        for queue in [
            SimulatedWorld.results, SimulatedWorld.replies, SimulatedWorld.deadLetters, SimulatedWorld.elsewhere,
        ] where world.chosen(0...5) == 0 {
            let (from, to) = spell()
            world.absences.append((queue, from, to))
            world.transcript("\(queue) is away from \(from) to \(to)")
        }
        if world.chosen(0...5) == 0 {
            world.slowness.append(spell())
            world.transcript("slow \(world.slowness)")
        }
    }

    private func spell() -> (from: Duration, to: Duration) {
        let from = Duration.milliseconds(world.chosen(0...25_000))
        return (from, min(from + .milliseconds(world.chosen(100...12_000)), Self.troubled))
    }

    private mutating func fault() {
        let alive = workers.indices.filter {
            !workers[$0].isDead && !workers[$0].isDraining && !workers[$0].loop.isSuspended
        }
        guard let index = alive.randomElement(using: &world.random) else { return }
        let worker = workers[index]
        let consumer = [worker.main!, worker.lots!].randomElement(using: &world.random)!
        switch world.chosen(0...13) {
        case 0, 1:
            guard let queue = consumer.subscribed.randomElement(using: &world.random) else { return }
            // The channels of queues with a lock are lost with the connection in earnest, but a queue may move its leader.
            consumer.loseChannel(of: queue)
        case 2: consumer.loseConnection()
        case 3, 4:
            guard kind == .partitioned, let queue = settings.queues.randomElement(using: &world.random)?.name else {
                return
            }
            let next = workers[alive.randomElement(using: &world.random)!]
            for worker in workers where worker.wanted.contains(queue) && worker !== next { worker.handOver(queue) }
            next.wanted.insert(queue)
        case 7:
            let policies = Self.policies(of: orgs, unknownEffect, world)
            world.transcript("reload")
            for worker in workers where !worker.isDead { worker.reload(policies) }
        case 8, 9:
            let modes: [ControlMode] = [.live, .passthrough(to: SimulatedWorld.elsewhere), .shadow]
            say(.mode(modes.randomElement(using: &world.random)!), of: orgs.randomElement(using: &world.random)!.id)
        case 12, 13: replay()
        case 10, 11:
            suspend(worker, others: alive.filter { $0 != index }.map { workers[$0] })
        case 5:
            say(Bool.random(using: &world.random) ? .pause : .resume, of: orgs.randomElement(using: &world.random)!.id)
        default:
            // Another one comes in its place. Without locks only one after another keeps the order.
            if Bool.random(using: &world.random) { worker.drain() } else { worker.die() }
            while kind == .alone, !worker.isDead { advance(to: world.uptime + .milliseconds(100)) }
            addWorker()
            workers.last!.wanted = worker.wanted
            workers.last!.start()
        }
    }

    private func suspend(_ worker: SimulatedWorker, others: [SimulatedWorker]) {
        let times = [100...2000, 3000...11_000, 12_500...30_000].randomElement(using: &world.random)!
        let time = Int64(world.chosen(times))
        let clockStands = Bool.random(using: &world.random)
        let isLost = world.chosen(0...2) > 0
        let suspend = { [world] in
            worker.suspend(for: time, clockStands: clockStands)
            guard isLost else { return }
            // Its heartbeats are missed, and others take over what it held.
            world.after(0...time) {
                worker.main.loseConnection()
                worker.lots.loseConnection()
            }
            let others = others.filter { !$0.isDead && !$0.isDraining }
            guard let next = others.randomElement(using: &world.random) else { return }
            next.wanted.formUnion(worker.wanted)
            worker.wanted = []
        }
        if Bool.random(using: &world.random) { suspend() } else { worker.beforeCall = suspend }
    }

    private func check() {
        world.begin { [world] in world.witness.ends(await world.records(of: world.witness.keys)) }
        world.loop.run()
        for (name, queue) in world.broker.queues
        where settings.queues.contains(where: { name.hasPrefix($0.name) }) {
            let commands = (queue.stored + queue.channels.flatMap { $0.unsettled.values }).filter {
                ParkingMarker($0.message) == nil
            }
            if !commands.isEmpty { world.violated("\(commands.count) left in \(name)") }
        }
        for worker in workers where !worker.isDead && !worker.isDraining {
            for left in worker.leftOver() { world.violated(left) }
        }
    }
}

@Suite struct SimulationTests {
    @Test func nothingIsLostReorderedOrLeftWaiting() throws {
        let environment = ProcessInfo.processInfo.environment
        let given = environment["SIMULATION_SEED"].flatMap { UInt64($0) }
        let first = given ?? .random(in: 0..<1 << 32)
        let count = environment["SIMULATION_RUNS"].flatMap { UInt64($0) } ?? (given == nil ? 40 : 1)
        print("seeds \(first) to \(first + count - 1)")
        var seen: Set<String> = []
        for seed in first..<(first + count) {
            var simulation = Simulation(seed: seed)
            simulation.run()
            seen.formUnion(simulation.world.witness.seen)
            guard !simulation.world.violations.isEmpty else { continue }
            if count == 1 { print(simulation.world.lines.joined(separator: "\n")) }
            Issue.record("seed \(seed), \(simulation.kind): \(simulation.world.violations.prefix(6))")
        }
        // Histories in which nothing happens prove nothing.
        if count >= 40 {
            let expected =
                Outcome.allCases.map(\.rawValue)
                + ["live", "parked", "returning", "handed on", "discarded", "replayed", "late"]
            #expect(Set(expected).subtracting(seen).isEmpty)
        }
    }
}
