// Queues that come and go with a lock: partitions, which one worker serves at a time.

import AMQP
import InteractionAPI
import Logging
import RoutingContract

extension DeliveryPipeline {
    // MARK: Taking over

    /// Prepares for the first deliveries of queues whose locks are held: looks for commands of theirs that are parked, so
    /// that none is overtaken.
    ///
    /// - Returns: the queues that may be consumed now: not those whose lock was lost meanwhile; `nil` when the broker
    ///   could not be asked.
    public func takeOver(_ names: [String]) async -> [String]? {
        await eventsSoFar()
        var begun: [(queue: Int, tenure: Int)] = []
        for queue in names.compactMap({ queueIndex[$0] }) {
            if let tenure = tenures.tenure(of: queue) { begun.append((queue, tenure)) }
        }
        guard let lots = await filledLots(of: begun.map(\.queue)) else { return nil }
        let taken = begun.filter { tenures.tookOver($0.queue, in: $0.tenure) }
        found(lots)
        return taken.map { settings.queues[$0.queue].name }
    }

    // MARK: Giving up

    /// Starts no more of a queue's commands, lets those under way finish and be acknowledged, and gives up its parking
    /// queues. What waits between two attempts is left to the broker. Closing the queue's channel is left to the caller.
    ///
    /// - Returns: whether the queue may be left to another worker; not so where the lock was lost meanwhile, or when the
    ///   caller was cancelled.
    public func handOver(_ name: String) async -> Bool {
        guard let queue = queueIndex[name] else { return false }
        await eventsSoFar()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                // First the waiter, then the look: the last command may end at any time.
                handOvers.updateValue(waiter, forKey: queue)?.resume(returning: false)
                guard !Task.isCancelled, tenures.giveUp(queue) else { return endHandOver(of: queue, false) }
                stopWaiting { $0.queue == queue }
                goOnHandingOver(queue)
            }
        } onCancel: {
            loop.execute { self.assumeIsolated { $0.endHandOver(of: queue, false) } }
        }
    }

    /// Something of the queue has come to its end.
    func goOnHandingOver(_ queue: Int) {
        guard handOvers[queue] != nil, tenures.isQuiet(queue) else { return }
        flushSettlements()
        closeLots(of: queue)
        if tenures.isHandedOver(queue) { endHandOver(of: queue, true) }
    }

    private func endHandOver(of queue: Int, _ isComplete: Bool) {
        handOvers.removeValue(forKey: queue)?.resume(returning: isComplete)
    }

    /// What stands in the lots is another worker's from now on.
    private func closeLots(of queue: Int) {
        metrics.gaveUp(queue)
        for (lot, place) in parkingPlaces where place.queue == queue {
            run(orgs[place.org]!.gate.gaveUp(lot), place.org)
        }
    }

    // MARK: Locks

    /// Returns once all that was received before has been taken. Events come to the loop by themselves, calls of this actor by
    /// its executor: that a lock is held may still be on its way when something is asked of its queue.
    private func eventsSoFar() async {
        await withCheckedContinuation { passed in loop.execute { passed.resume() } }
    }

    func lockHeld(_ lock: String) {
        if let queue = queueOfLock[lock] { tenures.lockHeld(queue) }
    }

    /// The channels that it guarded were told of before.
    func lockLost(_ lock: String) {
        guard let queue = queueOfLock[lock] else { return }
        closeLots(of: queue)
        tenures.lockLost(queue)
        endHandOver(of: queue, false)
    }
}
