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
    private let orgs: [KnownOrg]
    private let settings: PipelineSettings
    private var workers: [SimulatedWorker] = []
    private var requests: [String] = []

    init(seed: UInt64) {
        world = SimulatedWorld(seed: seed)
        kind = Kind.allCases.randomElement(using: &world.random)!
        let kind = kind
        orgs = (0...world.chosen(0...2)).map {
            KnownOrg(id: OrgID("00D00000000000\($0)")!, alias: "org\($0)", defaultContext: "P_C")
        }
        let prefetch = world.chosen(3...30)
        settings = PipelineSettings(
            worker: "simulated", concurrency: world.chosen(1...6),
            queues: (0...world.chosen(0...1)).map {
                .init(name: "commands.\($0)", prefetch: prefetch, lock: kind == .partitioned ? "owner.\($0)" : nil)
            },
            lease: .seconds(12), policies: Self.policies(of: orgs, world))
        world.keepsOrder = kind != .shared
        world.faultPercent = [0, 0, 2, 10, 30].randomElement(using: &world.random)!
        world.calmAt = Self.troubled
        world.refusesLots = world.chosen(0...7) == 0
        for name in settings.queues.map(\.name)
            + [SimulatedWorld.results, SimulatedWorld.deadLetters, SimulatedWorld.elsewhere]
        {
            world.broker.declare(name)
        }
    }

    private static func policies(of orgs: [KnownOrg], _ world: SimulatedWorld) -> [OrgID: OrgPolicy] {
        var policies: [OrgID: OrgPolicy] = [:]
        for org in orgs {
            policies[org.id] = OrgPolicy(
                callTimeout: .seconds(5), retry: RetryPolicy(attempts: world.chosen(2...8), budget: .seconds(60)),
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
    private mutating func publish() {
        let hasIssueTimes = Bool.random(using: &world.random)
        let conversations = world.chosen(1...4)
        var time: Int64 = 0
        for number in 1...world.chosen(5...90) {
            if world.chosen(0...4) == 0 { time += Int64(world.chosen(0...4000)) }
            let org = orgs.randomElement(using: &world.random)!
            let place = world.chosen(1...conversations)
            let conversation = "c\(place)-\(org.alias)"
            let queue = settings.queues[place % settings.queues.count].name
            let request =
                "6f1c2a3e-0d4b-4c5a-9e8f-" + String(repeating: "0", count: 12 - "\(number)".count) + "\(number)"
            let isDelete = world.chosen(0...7) == 0
            let isValid = world.chosen(0...19) != 0
            let patience = world.chosen(0...5) == 0 ? Duration.seconds(world.chosen(1...30)) : nil
            requests.append(request)
            if isValid {
                world.commands[request] = (number, ConversationKey(org: org.id, conversation: conversation))
            }
            world.after(time...time) { [world] in
                var headers: FieldTable = [
                    "Command": .string(isDelete ? "delete" : "route"), "RequestId": .string(request),
                    "OrgId": .string(org.alias),
                ]
                if hasIssueTimes { headers["IssuedAt"] = .int64(world.wall.milliseconds) }
                if let patience { headers["Deadline"] = .int64((world.wall + patience).milliseconds) }
                let type = isDelete ? "" : #","routingType":"Initial""#
                let body = isValid ? #"{"conversationIdentifier":"\#(conversation)"\#(type)}"# : "{"
                world.transcript("publish \(number) of \(conversation) in \(queue)\(isDelete ? ", delete" : "")")
                _ = world.broker.put(
                    Message(
                        properties: MessageProperties(headers: headers), body: Array(body.utf8)), in: queue)
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
        for queue in [SimulatedWorld.results, SimulatedWorld.deadLetters, SimulatedWorld.elsewhere]
        where world.chosen(0...5) == 0 {
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
        let alive = workers.indices.filter { !workers[$0].isDead && !workers[$0].isDraining }
        guard let index = alive.randomElement(using: &world.random) else { return }
        let worker = workers[index]
        let consumer = [worker.main!, worker.lots!].randomElement(using: &world.random)!
        switch world.chosen(0...9) {
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
            let policies = Self.policies(of: orgs, world)
            world.transcript("reload")
            for worker in workers where !worker.isDead { worker.reload(policies) }
        case 8, 9:
            let mode: ControlMode =
                Bool.random(using: &world.random) ? .live : .passthrough(to: SimulatedWorld.elsewhere)
            say(.mode(mode), of: orgs.randomElement(using: &world.random)!.id)
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

    private func say(_ change: ControlChange, of org: OrgID) {
        if case .mode = change { world.turned[org] = world.uptime }
        let note = ControlNote(since: world.wall, by: "the test")
        world.transcript("\(change) \(org)")
        world.controls = world.controls.changed(by: change, for: org, note) ?? world.controls
        for worker in workers where !worker.isDead { worker.obey() }
    }

    private func check() {
        for request in requests where world.outcomes[request] == nil && !world.handedOn.contains(request) {
            world.violated("no answer to \(request)")
        }
        for (name, queue) in world.broker.queues
        where !name.hasPrefix("routing.") && name != SimulatedWorld.elsewhere {
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

extension SimulatedWorld {
    fileprivate func chosen(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &random) }
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
            seen.formUnion(simulation.world.seen)
            guard !simulation.world.violations.isEmpty else { continue }
            if count == 1 { print(simulation.world.lines.joined(separator: "\n")) }
            Issue.record("seed \(seed), \(simulation.kind): \(simulation.world.violations.prefix(6))")
        }
        // Histories in which nothing happens prove nothing.
        if count >= 40 {
            #expect(seen.isSuperset(of: ["live", "parked", "returning", "succeeded", "unknown", "handed on"]))
        }
    }
}
