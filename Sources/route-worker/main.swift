print("route-worker")
