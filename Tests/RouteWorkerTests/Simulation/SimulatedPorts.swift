// The outside as one worker of a simulation reaches it: Salesforce, publisher, store, parking queues.

import AMQP
import AMQPMessage
import IdempotencyStore
import InteractionAPI
import NIOCore
import RoutingContract

@testable import RouteWorker

/// What has been sent goes on without the worker; what comes back waits until it is awake.
struct SimulatedPorts: RoutingAPI, MessagePublisher, BestEffortPublisher, IdempotencyStore, ParkingLots {
    let worker: SimulatedWorker
    private var world: SimulatedWorld { worker.world }

    // MARK: Salesforce

    func perform(_ command: RouteCommand, timeout: Duration) async -> CallResult {
        let isCommand = command.reply.correlationID != nil
        let latest = worker.loop.now + TimeAmount(timeout)
        if isCommand { worker.begins(command.key.org) }
        let wasStopped = isCommand && worker.stopBeforeCall()
        if wasStopped { await world.delay(0...0) }
        var result = await world.there { [world, worker] in
            await world.call(command, timeout: timeout, by: worker, wasStopped: wasStopped)
        }
        // The answer and the end of the time for it waited together.
        if worker.loop.now > latest, world.chosen(0...1) == 0 { result = ScriptedAPI.lost }
        if isCommand { worker.ends(command.key.org, result) }
        return result
    }

    // MARK: Publisher

    func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome] {
        await world.lag(0...10)
        worker.look()
        return await world.there { [world] in
            let outcomes = messages.map { message -> PublishOutcome in
                let fails = world.fails()
                let failed = PublishOutcome.failed(.timeout("by the test"))
                if fails, world.chosen(0...2) > 0 { return world.chosen(0...1) == 0 ? .nacked : failed }
                guard world.broker.put(message.message, in: message.routingKey) else {
                    return .returned(code: 312, text: "NO_ROUTE")
                }
                world.witness.publishes(message)
                return fails ? failed : .confirmed
            }
            await world.lag(0...10)
            return outcomes
        }
    }

    func publishBestEffort(_ message: OutgoingMessage) {}

    // MARK: Store

    private func ask(_ operation: StoreOperation) async throws(StoreError) -> StoreReply {
        await world.lag(0...8)
        let away = StoreError.unavailable("by the test")
        guard world.fails() else { return await run(operation) }
        switch world.chosen(0...4) {
        case 0, 1: throw away
        case 2, 3: _ = await run(operation)
        default:
            // The connection is lost, and the store does what it was asked for all the same.
            world.witness.isInLimbo(operation)
            world.begin { [world, worker] in
                await world.delay(0...1500)
                _ = await world.store(operation, for: worker.number)
            }
        }
        throw away
    }

    private func run(_ operation: StoreOperation) async -> StoreReply {
        await world.there { [world, worker] in
            let reply = await world.store(operation, for: worker.number)
            await world.lag(0...8)
            return reply
        }
    }

    func claim(_ request: ClaimRequest) async throws(StoreError) -> ClaimResult {
        guard case .claim(let result) = try await ask(.claim(request)) else { preconditionFailure() }
        return result
    }

    func record(_ result: CommandResult, for claim: Claim) async throws(StoreError) -> Fencing {
        guard case .fencing(let fencing) = try await ask(.record(result, claim)) else { preconditionFailure() }
        return fencing
    }

    func release(_ claim: Claim, as release: Release) async throws(StoreError) -> Fencing {
        guard case .fencing(let fencing) = try await ask(.release(claim, release)) else { preconditionFailure() }
        return fencing
    }

    func mark(_ request: ClaimRequest) async throws(StoreError) { _ = try await ask(.mark(request)) }
    func purge(limit: Int) async throws(StoreError) -> Int { 0 }
    func close() async {}

    // MARK: Parking queues

    func prepare(_ lot: String) async -> ParkingReadiness {
        await world.delay(5...40)
        if world.refusesLots { return .refused("by the test") }
        if world.fails() { return .failed("by the test") }
        world.broker.declare(lot)
        return .ready
    }

    func messages(in lots: [String]) async -> [String: Int]? {
        await world.delay(2...20)
        if world.fails() { return nil }
        let found = world.broker.queues.filter { lots.contains($0.key) && !world.isAbsent($0.key) }
            .mapValues(\.stored.count)
        await world.delay(2...20)
        return found
    }

    func areEmpty(_ lots: [String]) async -> Bool {
        worker.look()
        await world.delay(2...20)
        let areEmpty = lots.allSatisfy { lot in
            world.broker.queues[lot].map { $0.stored.isEmpty && !$0.channels.isEmpty } ?? true
        }
        await world.delay(2...20)
        return areEmpty && !world.fails()
    }

    func subscribe(_ lot: String, prefetch: UInt16, lock: String?) {
        (lock == nil ? worker.lots : worker.main).subscribe(lot, prefetch: Int(prefetch), lock: lock)
    }

    func unsubscribe(_ lot: String, lock: String?) { (lock == nil ? worker.lots : worker.main).unsubscribe(lot) }
    func settle(_ batch: [Settlement]) { worker.lots.settle(batch) }
}
