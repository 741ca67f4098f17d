.PHONY: nfs-test
nfs-test: ## try a spool directory on a loopback NFS mount; says why where it cannot
	@test/nfs/try
