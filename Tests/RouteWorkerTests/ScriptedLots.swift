// Parking queues in memory: what is published to them comes back in order to whoever subscribes.

import AMQP
import AMQPMessage
import Foundation
import RoutingContract

@testable import RouteWorker

/// The parking queues of a stage. Together with a ``ScriptedPublisher`` that tells it what was published.
final class ScriptedLots: ParkingLots {
    private struct Lot {
        var messages: [Message] = []
        /// Delivered to the open channel and not settled, by tag.
        var unsettled: [UInt64: Message] = [:]
        var generation: UInt64?
        var nextTag: UInt64 = 0
        /// Its channel is lost, and is opened again unless somebody unsubscribes.
        var isLost = false

        /// What is not settled goes back to its place.
        mutating func close() {
            generation = nil
            messages = unsettled.sorted { $0.key < $1.key }.map(\.value) + messages
            unsettled = [:]
        }
    }

    private struct State {
        var lots: [String: Lot] = [:]
        var generation = ScriptedLots.firstGeneration
        var receive: @Sendable (ConsumerEvent) -> Void = { _ in }
        var settled: @Sendable (Settlement) -> Void = { _ in }
        var readiness = ParkingReadiness.ready
        /// So often the messages cannot be counted.
        var failedLooks = 0
        var log: [String] = []
    }

    /// Above those of commands queues.
    private static let firstGeneration: UInt64 = 1000

    private let mutex = NSLock()
    nonisolated(unsafe) private var state = State()  // only reached with the lock held

    init(_ readiness: ParkingReadiness = .ready, failedLooks: Int = 0) {
        state.readiness = readiness
        state.failedLooks = failedLooks
    }

    func connect(_ pipeline: DeliveryPipeline, settled: @escaping @Sendable (Settlement) -> Void) {
        mutex.withLock {
            state.receive = pipeline.receive
            state.settled = settled
        }
    }

    /// What was asked for, in order.
    var log: [String] { mutex.withLock { state.log } }

    /// How many messages a lot holds, those under way included.
    func count(_ lot: String) -> Int {
        mutex.withLock { state.lots[lot].map { $0.messages.count + $0.unsettled.count } ?? 0 }
    }

    func put(_ message: Message, in lot: String) {
        let event = mutex.withLock { () -> ConsumerEvent? in
            state.lots[lot, default: Lot()].messages.append(message)
            return next(lot)
        }
        if let event { mutex.withLock { state.receive }(event) }
    }

    func prepare(_ lot: String) async -> ParkingReadiness {
        mutex.withLock {
            state.log.append("prepare")
            if state.readiness == .ready, state.lots[lot] == nil { state.lots[lot] = Lot() }
            return state.readiness
        }
    }

    func messages(in lots: [String]) async -> [String: Int]? {
        mutex.withLock {
            state.failedLooks -= 1
            guard state.failedLooks < 0 else { return nil }
            return state.lots.filter { lots.contains($0.key) }.mapValues(\.messages.count)
        }
    }

    func areEmpty(_ lots: [String]) async -> Bool {
        mutex.withLock { lots.allSatisfy { state.lots[$0]?.messages.isEmpty ?? true } }
    }

    func subscribe(_ lot: String, prefetch: UInt16, lock: String?) {
        let (receive, events) = mutex.withLock { () -> (@Sendable (ConsumerEvent) -> Void, [ConsumerEvent]) in
            state.log.append(prefetch == .max ? "look" : "subscribe")
            return (state.receive, open(lot))
        }
        for event in events { receive(event) }
    }

    private func open(_ lot: String) -> [ConsumerEvent] {
        state.generation += 1
        state.lots[lot, default: Lot()].generation = state.generation
        state.lots[lot]!.nextTag = 0
        state.lots[lot]!.isLost = false
        return [.subscribed(queue: lot, generation: state.generation), next(lot)].compactMap { $0 }
    }

    func loseChannel(of lot: String) {
        let (receive, event) = mutex.withLock { () -> (@Sendable (ConsumerEvent) -> Void, ConsumerEvent?) in
            guard let generation = state.lots[lot]?.generation else { return (state.receive, nil) }
            state.lots[lot]!.close()
            state.lots[lot]!.isLost = true
            return (
                state.receive, .subscriptionLost(queue: lot, generation: generation, .connectionLost("by the test"))
            )
        }
        if let event { receive(event) }
    }

    /// Opens a lost channel again, as a consumer does by itself.
    func reopenChannel(of lot: String) {
        let (receive, events) = mutex.withLock {
            (state.receive, state.lots[lot]?.isLost == true ? open(lot) : [])
        }
        for event in events { receive(event) }
    }

    func unsubscribe(_ lot: String, lock: String?) {
        let (receive, event) = mutex.withLock { () -> (@Sendable (ConsumerEvent) -> Void, ConsumerEvent?) in
            state.log.append("unsubscribe")
            state.lots[lot]?.isLost = false
            guard let generation = state.lots[lot]?.generation else { return ({ _ in }, nil) }
            state.lots[lot]!.close()
            return (state.receive, .subscriptionLost(queue: lot, generation: generation, .closed))
        }
        if let event { receive(event) }
    }

    /// Lots of a queue with a lock are settled with the queue itself.
    static func isOfLot(_ settlement: Settlement) -> Bool {
        switch settlement {
        case .ack(let receipt), .reject(let receipt): receipt.generation > firstGeneration
        }
    }

    func settle(_ batch: [Settlement]) {
        for settlement in batch {
            let settled = mutex.withLock { () -> (@Sendable (Settlement) -> Void)? in
                guard case .ack(let receipt) = settlement,
                    let lot = state.lots.first(where: { $0.value.generation == receipt.generation })?.key,
                    let message = state.lots[lot]!.unsettled.removeValue(forKey: receipt.deliveryTag),
                    ParkingMarker(message) == nil
                else { return nil }
                return state.settled
            }
            settled?(settlement)
        }
    }

    private func next(_ name: String) -> ConsumerEvent? {
        guard var lot = state.lots[name], let generation = lot.generation, !lot.messages.isEmpty else { return nil }
        var deliveries: [Delivery] = []
        for message in lot.messages {
            lot.nextTag += 1
            lot.unsettled[lot.nextTag] = message
            deliveries.append(
                Delivery(
                    receipt: Receipt(generation: generation, channel: 1, deliveryTag: lot.nextTag), queue: name,
                    routingKey: name, message: message))
        }
        lot.messages = []
        state.lots[name] = lot
        return .deliveries(deliveries)
    }
}
