// A store that fails is said once and then once a minute, not for each command and attempt.

import Logging
import RoutingContract

extension DeliveryPipeline {
    /// - Parameter what: what could not be done for the command, which is tried again.
    func storeFailed(_ what: String, _ command: RouteCommand, _ error: some Error) {
        logger.log(
            storeOutage.failed("\(what): \(error)", now: .now), .error, "\(what); commands wait until the store works",
            metadata: command.metadata(error))
    }

    func storeWorked() {
        guard let away = storeOutage.worked(now: .now) else { return }
        logger.info("the store works again", metadata: [LogKey.awaySeconds: "\(away.components.seconds)"])
    }
}
